// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <sstream>

#include "base/log.h"
#include "eval/vision_entry.h"
#include "eval/vision_loaders.h"

namespace fastcache::eval {
namespace {

// "match": "last" of a line, else by its kind.
Match match_of(const Entry& line, const std::string& category) {
  if (!line.has("match")) return category == "describe" ? Match::parts : Match::exact;
  const Entry named = line.at("match");
  if (named.text() != "last") named.refuse("the only one that can be named is \"last\"");
  return Match::last;
}

VisionQuestion question_of(const Entry& line, const std::string& folder) {
  VisionQuestion question{.source = line.where(),
                          .category = line.at("kind").text(),
                          .question = fmt::format("\n{}", line.at("question").text()),
                          .answer = line.at("answer").text()};
  const Entry pictures = line.at("pictures"), before = line.at("before");
  if (pictures.size() == 0) pictures.refuse("it must name at least one picture");
  if (before.size() != pictures.size())
    before.refuse(fmt::format("it has {} texts for {} pictures", before.size(), pictures.size()));
  for (size_t i = 0; i < pictures.size(); ++i) {
    question.before.push_back(before.at(i).text());
    question.pictures.push_back(picture_path(folder, pictures.at(i).text(), pictures));
  }
  question.match = match_of(line, question.category);
  return question;
}

}  // namespace

std::vector<VisionQuestion> load_question_lines(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / "questions.jsonl").string();
  std::istringstream lines(read_questions_file(path));
  std::vector<VisionQuestion> questions;
  std::string text;
  for (int number = 1; std::getline(lines, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}, line {}", path, number);
    const nlohmann::json json = parse_questions(text, where);
    questions.push_back(question_of({json, where}, folder));
  }
  return questions;
}

}  // namespace fastcache::eval
