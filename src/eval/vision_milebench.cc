// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "eval/vision_entry.h"
#include "eval/vision_loaders.h"
#include "eval/vision_score.h"

namespace fastcache::eval {
namespace {

namespace fs = std::filesystem;

struct Placeholder {
  size_t begin = std::string::npos, end = 0;  // in the text
  size_t picture = 0;                         // index; SIZE_MAX: beyond every list
};

// The next {image#N} or {table#N} from `from` on: begin is npos where there is none.
Placeholder find_placeholder(const std::string& text, size_t from) {
  for (size_t at = text.find('{', from); at != std::string::npos; at = text.find('{', at + 1)) {
    const std::string_view rest = std::string_view(text).substr(at + 1);
    if (!rest.starts_with("image#") && !rest.starts_with("table#")) continue;
    size_t number = 0;
    const auto [end, error] = std::from_chars(rest.data() + 6, rest.data() + rest.size(), number);
    if (error != std::errc() || end == rest.data() + rest.size() || *end != '}' || number == 0) continue;
    return {.begin = at, .end = static_cast<size_t>(end - text.data()) + 1, .picture = number - 1};
  }
  return {};
}

// Cuts the text at its placeholders; what is behind the last becomes the question.
void cut(const std::string& text, const std::vector<std::string>& pictures, const Entry& where,
         VisionQuestion& question) {
  size_t at = 0;
  for (Placeholder next = find_placeholder(text, 0); next.begin != std::string::npos;
       next = find_placeholder(text, at)) {
    if (next.picture >= pictures.size())
      where.refuse(fmt::format("it shows picture {}; images_path has {}", next.picture + 1, pictures.size()));
    question.before.push_back(text.substr(at, next.begin - at));
    question.pictures.push_back(pictures[next.picture]);
    at = next.end;
  }
  question.question = text.substr(at);
}

std::string choices_text(const std::vector<std::string>& choices) {
  std::string text = "\nChoice list:\n";
  for (size_t i = 0; i < choices.size(); ++i)
    text += (has_letters(choices) ? fmt::format("{}. ", choice_letter(i)) : "") + choices[i] + "\n";
  return text + "Your answer is: ";
}

void add_choices(const Entry& list, const Entry& entry, VisionQuestion& question) {
  for (size_t i = 0; i < list.size(); ++i) question.choices.push_back(list.at(i).text_or_number());
  if (std::find(question.choices.begin(), question.choices.end(), question.answer) == question.choices.end())
    entry.refuse(fmt::format("the response '{}' is none of its choices", question.answer));
  question.match = Match::choice;
}

VisionQuestion question_of(const Entry& entry, const Entry& instructions, const std::string& task,
                           const std::string& folder) {
  VisionQuestion question{.source = entry.where(),
                          .category = task,
                          .answer = entry.at("response").text_or_number(),
                          .match = Match::relaxed};
  const Entry asked = entry.at("task_instance"), files = asked.at("images_path");
  const int64_t instruction = entry.at("task_instruction_id").whole_number();
  std::vector<std::string> pictures;
  for (size_t i = 0; i < files.size(); ++i)
    pictures.push_back(picture_path(folder + "/images", files.at(i).text(), files));
  if (instruction < 0) entry.at("task_instruction_id").refuse("it must be at least 0");
  std::string text =
      instructions.at(static_cast<size_t>(instruction)).text() + "\n" + asked.at("context").text();
  // A list of choices may be there and empty: then the answer is open.
  if (asked.has("choice_list") && asked.at("choice_list").size() > 0) {
    add_choices(asked.at("choice_list"), entry, question);
    text += choices_text(question.choices);
  }
  cut(text, pictures, asked, question);
  if (question.pictures.empty()) asked.refuse("its context shows no picture; {image#1} would be the first");
  return question;
}

void load_task(const fs::path& file, std::vector<VisionQuestion>& questions) {
  const std::string path = file.string();
  const nlohmann::json json = parse_questions(read_questions_file(path), path);
  const Entry whole(json, path);
  const Entry instructions = whole.at("meta_data").at("task_instruction"), data = whole.at("data");
  for (size_t i = 0; i < data.size(); ++i)
    questions.push_back(
        question_of(data.at(i), instructions, file.stem().string(), file.parent_path().string()));
}

// <folder>/<name>.json for a folder of that name: the folder itself, or those below it.
void find_tasks(const fs::path& folder, int levels, std::vector<fs::path>& tasks) {
  std::error_code error;
  const std::string name = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  const fs::path file = folder / (name + ".json");
  if (fs::is_regular_file(file, error)) {
    tasks.push_back(file);
    return;
  }
  if (levels == 0) return;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    if (at->is_directory(ignored)) find_tasks(at->path(), levels - 1, tasks);
  }
}

}  // namespace

std::vector<VisionQuestion> load_milebench(const std::string& folder) {
  std::vector<fs::path> tasks;
  find_tasks(fs::absolute(folder), 2, tasks);
  std::sort(tasks.begin(), tasks.end());
  if (tasks.empty())
    throw Error{Code::not_found, fmt::format("{}: there is no task in it; MileBench has <task>/<task>.json "
                                             "with the pictures in <task>/images",
                                             folder)};
  std::vector<VisionQuestion> questions;
  for (const fs::path& task : tasks) load_task(task, questions);
  return questions;
}

}  // namespace fastcache::eval
