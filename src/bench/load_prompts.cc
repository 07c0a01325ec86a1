// SPDX-License-Identifier: Apache-2.0
#include "bench/load_prompts.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "model/utf8.h"

namespace fastcache::bench {
namespace {

using Json = nlohmann::json;

constexpr std::array kWords{
    "time",  "year",   "people", "way",     "day",     "man",     "thing",    "woman",    "life",   "child",
    "world", "school", "state",  "family",  "student", "group",   "country",  "problem",  "hand",   "part",
    "place", "case",   "week",   "company", "system",  "program", "question", "work",     "number", "night",
    "point", "home",   "water",  "room",    "mother",  "area",    "money",    "story",    "fact",   "month",
    "lot",   "right",  "study",  "book",    "eye",     "job",     "word",     "business", "issue",  "side",
    "kind",  "head",   "house",  "service", "friend",  "father",  "power",    "hour",     "game",   "line",
    "end",   "member", "law",    "car"};

[[noreturn]] void refuse_line(const std::string& path, size_t line, const std::string& why) {
  throw Error{Code::bad_request, fmt::format("{}, line {}: {}", path, line, why)};
}

void read_lines(const std::string& path, const std::function<void(const std::string&, size_t)>& on_line) {
  std::ifstream file(path);
  std::string line;
  for (size_t number = 1; std::getline(file, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    if (const auto at = model::find_invalid_utf8(line))
      refuse_line(path, number, fmt::format("byte {} is not valid UTF-8", *at + 1));
    if (line.find_first_not_of(" \t") != std::string::npos) on_line(line, number);
  }
  if (file.bad()) throw Error{Code::io, fmt::format("{} cannot be read to its end", path)};
}

// Empty if one is none.
std::vector<int32_t> token_ids(const Json& array) {
  std::vector<int32_t> tokens;
  for (const Json& id : array) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<int32_t>::max()) return {};
    tokens.push_back(id);
  }
  return tokens;
}

LoadPrompt jsonl_prompt(const std::string& path, const std::string& line, size_t number) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) refuse_line(path, number, "it is no JSON object");
  LoadPrompt prompt;
  if (json.contains("prompt") && json["prompt"].is_string()) {
    prompt.text = json["prompt"];
    if (prompt.text.empty()) refuse_line(path, number, "the prompt is empty");
  } else if (json.contains("prompt") && json["prompt"].is_array()) {
    prompt.tokens = token_ids(json["prompt"]);
    if (prompt.tokens.empty()) refuse_line(path, number, "the prompt's array must hold token ids");
  } else if (json.contains("messages") && json["messages"].is_array() && !json["messages"].empty()) {
    prompt.messages = json["messages"].dump();
  } else {
    refuse_line(path, number, R"(it must have "prompt", a string or token ids, or "messages", an array)");
  }
  if (const auto most = json.find("max_tokens"); most != json.end()) {
    if (!most->is_number_integer() || *most < 1 || *most > (1 << 24))
      refuse_line(path, number, "max_tokens must be a whole number of at least 1");
    prompt.generate_tokens = *most;
  }
  return prompt;
}

const std::string* turn_text(const Json& turn, std::initializer_list<const char*> speakers) {
  if (!turn.is_object() || !turn.contains("from") || !turn.contains("value")) return nullptr;
  const bool right =
      std::any_of(speakers.begin(), speakers.end(), [&](const char* who) { return turn["from"] == who; });
  return right ? turn["value"].get_ptr<const std::string*>() : nullptr;
}

void add_conversation(const Json& item, const CountTokens& count_tokens, std::vector<LoadPrompt>& prompts) {
  if (!item.is_object() || !item.contains("conversations")) return;
  const Json& turns = item["conversations"];
  if (!turns.is_array() || turns.size() < 2) return;
  const std::string* question = turn_text(turns[0], {"human", "user"});
  const std::string* answer = turn_text(turns[1], {"gpt", "assistant", "chatgpt"});
  if (question == nullptr || answer == nullptr || question->empty() || answer->empty()) return;
  prompts.push_back({.text = *question,
                     .tokens = {},
                     .messages = {},
                     .generate_tokens = std::max(count_tokens(*answer), 1)});
}

// These files have gigabytes: each conversation is dropped as soon as it was read.
std::vector<LoadPrompt> share_gpt_prompts(const std::string& path, const CountTokens& count_tokens) {
  std::vector<LoadPrompt> prompts;
  bool array = false;
  const auto on_event = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth == 0 && event == Json::parse_event_t::array_start) array = true;
    if (depth != 1 || event != Json::parse_event_t::object_end) return true;
    add_conversation(parsed, count_tokens, prompts);
    return false;
  };
  std::ifstream file(path);
  try {
    [[maybe_unused]] const Json rest = Json::parse(file, on_event);
  } catch (const Json::exception& error) {
    throw Error{Code::bad_request, fmt::format("{} is no JSON: {}", path, model::displayable(error.what()))};
  }
  if (!array) throw Error{Code::bad_request, fmt::format("{} is no array of conversations", path)};
  return prompts;
}

}  // namespace

int estimate_tokens(std::string_view text) { return static_cast<int>((text.size() + 3) / 4); }

std::vector<LoadPrompt> read_prompts(const std::string& path, const CountTokens& count_tokens) {
  if (!std::ifstream(path).good() || std::ifstream(path).peek() == std::ifstream::traits_type::eof())
    throw Error{Code::not_found, fmt::format("--dataset {}: there is no such file, or it is empty", path)};
  std::vector<LoadPrompt> prompts;
  if (path.ends_with(".json")) {
    prompts = share_gpt_prompts(path, count_tokens);
  } else if (path.ends_with(".jsonl")) {
    read_lines(path,
               [&](const std::string& line, size_t n) { prompts.push_back(jsonl_prompt(path, line, n)); });
  } else {
    read_lines(path, [&](const std::string& line, size_t) {
      prompts.push_back({.text = line, .tokens = {}, .messages = {}});
    });
  }
  if (prompts.empty())
    throw Error{Code::bad_request, fmt::format("--dataset {}: there is no prompt in it", path)};
  return prompts;
}

std::vector<LoadPrompt> draw_prompts(const std::vector<LoadPrompt>& all, int n, uint64_t seed) {
  std::vector<size_t> order(all.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::mt19937_64 random(seed);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  std::vector<LoadPrompt> drawn;
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) drawn.push_back(all[order[i % order.size()]]);
  return drawn;
}

std::vector<LoadPrompt> synthetic_prompts(const ServingLoad& load) {
  const bool words = load.n_vocab == 0;
  ServingLoad drawn = load;
  if (words) drawn.n_vocab = static_cast<int>(kWords.size());
  std::vector<LoadPrompt> prompts;
  for (std::vector<int32_t>& tokens : random_prompts(drawn)) {
    LoadPrompt& prompt = prompts.emplace_back();
    if (!words) {
      prompt.tokens = std::move(tokens);
      continue;
    }
    for (int32_t token : tokens)
      prompt.text += std::string(prompt.text.empty() ? "" : " ") + kWords[static_cast<size_t>(token)];
  }
  return prompts;
}

}  // namespace fastcache::bench
