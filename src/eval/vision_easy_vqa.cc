// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "base/log.h"
#include "eval/vision_entry.h"
#include "eval/vision_loaders.h"

namespace fastcache::eval {
namespace {

// As the training words it (tools/train_vlm/vqa_data.py): the package writes questions in lower case, and
// some without a question mark.
std::string sentence(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text.ends_with('?') ? text : text + "?";
}

}  // namespace

std::vector<VisionQuestion> load_easy_vqa(const std::string& folder) {
  const std::filesystem::path test = std::filesystem::path(folder) / "test";
  const std::string path = (test / "questions.json").string();
  const nlohmann::json json = parse_questions(read_questions_file(path), path);
  const Entry all(json, path);
  std::vector<VisionQuestion> questions;
  for (size_t i = 0; i < all.size(); ++i) {
    const Entry row = all.at(i);
    const std::string answer = row.at(1).text();
    const std::string file = fmt::format("images/{}.png", row.at(2).whole_number());
    questions.push_back({.source = row.where(),
                         .category = answer == "yes" || answer == "no" ? "yes/no" : "open",
                         .before = {""},
                         .pictures = {picture_path(test.string(), file, row)},
                         .question = fmt::format("\n{}", sentence(row.at(0).text())),
                         .answer = answer});
  }
  return questions;
}

}  // namespace fastcache::eval
