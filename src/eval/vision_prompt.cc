// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_prompt.h"

#include <algorithm>
#include <memory>

#include "eval/vision_message.h"

namespace fastcache::eval {
namespace {

std::vector<std::shared_ptr<const Picture>> load_all(const VisionQuestion& question) {
  std::vector<std::shared_ptr<const Picture>> pictures;
  for (const std::string& path : question.pictures) pictures.push_back(load_picture(path));
  return pictures;
}

}  // namespace

QuestionTokens question_tokens(const model::LoadedModel& model, const VisionQuestion& question) {
  model::ChatMessage message{.role = "user"};
  for (const std::string& text : question.before) {
    if (!text.empty()) message.parts.push_back({.text = text});
    message.parts.push_back({.is_picture = true});
  }
  if (!question.question.empty()) message.parts.push_back({.text = question.question});
  const Tokens all = model.chat_template.apply_tokens({message}, {});
  const auto last = std::find(all.rbegin(), all.rend(), kPictureToken).base();
  return {.context = {all.begin(), last}, .question = {last, all.end()}};
}

bool same_pictures(const VisionQuestion& a, const VisionQuestion& b) {
  return a.pictures == b.pictures && a.before == b.before;
}

int context_tokens(const model::VisionEncoder& vision, const QuestionTokens& tokens,
                   const VisionQuestion& question) {
  int n = static_cast<int>(tokens.context.size() - question.pictures.size());
  for (const auto& picture : load_all(question))
    n += vision.layout(picture->width, picture->height).n_tokens();
  return n;
}

PicturesRead read_pictures(model::VisionEncoder& vision, ComputePool& threads, const QuestionTokens& tokens,
                           const VisionQuestion& question) {
  const auto pictures = load_all(question);
  std::vector<model::PictureView> views;
  for (const auto& picture : pictures)
    views.push_back({.width = picture->width, .height = picture->height, .rgb = picture->rgb});
  PicturesRead read{.encoded = vision.encode(views, threads)};
  std::vector<model::PictureLayout> layouts;
  for (const model::EncodedPicture& picture : read.encoded) layouts.push_back(picture.layout);
  read.prompt = model::expand_pictures(tokens.context, layouts, vision.reading());
  const auto width = static_cast<size_t>(vision.width());
  for (size_t i = 0; i < read.prompt.tokens.size(); ++i) {
    const kv::Token& token = read.prompt.tokens[i];
    read.embeddings.push_back(token.id >= 0
                                  ? nullptr
                                  : read.encoded[static_cast<size_t>(token.image)].embeddings.data() +
                                        static_cast<size_t>(read.prompt.rows[i]) * width);
  }
  return read;
}

}  // namespace fastcache::eval
