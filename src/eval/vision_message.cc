// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_message.h"

#include "base/error.h"
#include "base/log.h"
#include "image/decode.h"
#include "image/local_file.h"

namespace fastcache::eval {

std::vector<uint8_t> picture_bytes(const std::string& path) {
  return image::read_file(path, image::DecodeLimits().file_bytes);
}

std::shared_ptr<const Picture> load_picture(const std::string& path) {
  const std::vector<uint8_t> file = picture_bytes(path);
  try {
    image::Picture picture = image::decode(file);
    return std::make_shared<const Picture>(
        Picture{.width = picture.width, .height = picture.height, .rgb = std::move(picture.rgb)});
  } catch (const Error& error) {
    throw Error{error.code(), fmt::format("{}: {}", path, error.what())};
  }
}

Message user_message(const VisionQuestion& question, bool blind) {
  if (blind) return {.role = "user", .content = text_of(question)};
  Message message{.role = "user"};
  for (size_t i = 0; i < question.pictures.size(); ++i) {
    if (!question.before[i].empty()) message.parts.push_back({.text = question.before[i]});
    message.parts.push_back({.picture = load_picture(question.pictures[i])});
  }
  if (!question.question.empty()) message.parts.push_back({.text = question.question});
  return message;
}

std::string text_of(const VisionQuestion& question) {
  std::string text;
  for (const std::string& part : question.before) text += part;
  return text + question.question;
}

}  // namespace fastcache::eval
