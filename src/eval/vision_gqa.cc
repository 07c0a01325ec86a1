// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "base/log.h"
#include "eval/vision_entry.h"
#include "eval/vision_loaders.h"

namespace fastcache::eval {

std::vector<VisionQuestion> load_gqa(const std::string& folder) {
  const std::filesystem::path root(folder);
  const std::string path = (root / "testdev_balanced_questions.json").string();
  const nlohmann::json json = parse_questions(read_questions_file(path), path);
  if (!json.is_object()) Entry(json, path).refuse("it must be an object");
  std::vector<VisionQuestion> questions;
  for (const auto& [id, value] : json.items()) {
    const Entry entry(value, fmt::format("{}, question {}", path, id));
    const std::string file = entry.at("imageId").text_or_number() + ".jpg";
    // The models of LLaVA's kind learnt to answer shortly when they are asked like that.
    questions.push_back({.source = entry.where(),
                         .category = entry.at("types").at("structural").text(),
                         .before = {""},
                         .pictures = {picture_path((root / "images").string(), file, entry)},
                         .question = fmt::format("\n{}\nAnswer the question using a single word or phrase.",
                                                 entry.at("question").text()),
                         .answer = entry.at("answer").text(),
                         .match = Match::relaxed});
  }
  return questions;
}

}  // namespace fastcache::eval
