// SPDX-License-Identifier: Apache-2.0
#include "bench/answer_stream.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "model/utf8.h"

namespace fastcache::bench {
namespace {

using Json = nlohmann::json;

constexpr size_t kExcerptBytes = 200;

std::string excerpt(std::string_view text) { return model::displayable(text.substr(0, kExcerptBytes)); }

// Null for what is not there, or where `json` is no object.
const Json& member(const Json& json, const char* name) {
  static const Json null;
  if (!json.is_object()) return null;
  const auto found = json.find(name);
  return found == json.end() ? null : *found;
}

bool has_items(const Json& json) {
  return json.is_string() ? !json.get_ref<const std::string&>().empty() : json.is_array() && !json.empty();
}

bool carries_tokens(const Json& choice) {
  const Json& delta = member(choice, "delta");
  for (const char* name : {"content", "reasoning_content", "reasoning", "tool_calls"})
    if (has_items(member(delta, name))) return true;
  const Json& logprobs = member(choice, "logprobs");
  return has_items(member(choice, "text")) || has_items(member(choice, "token_ids")) ||
         has_items(member(logprobs, "content")) || has_items(member(logprobs, "tokens"));
}

std::optional<int64_t> count(const Json& usage, const char* name) {
  const Json& value = member(usage, name);
  if (!value.is_number_integer()) return std::nullopt;
  return value.get<int64_t>();
}

}  // namespace

void AnswerStream::fail(std::string sentence) {
  if (answer_.error.empty()) answer_.error = std::move(sentence);
}

void AnswerStream::push(std::string_view bytes, double now_ms) {
  if (!answer_.error.empty()) return;
  if (!events_.push(bytes, [&](std::string_view data) { read_event(data, now_ms); }))
    fail("the stream has an event of more than 16 MiB");
}

void AnswerStream::read_event(std::string_view data, double now_ms) {
  any_event_ = true;
  if (data == "[DONE]") {
    done_ = true;
    return;
  }
  const Json chunk = Json::parse(data, nullptr, false);
  if (!chunk.is_object()) {
    fail(fmt::format("a chunk of the stream is no JSON object: {}", excerpt(data)));
    return;
  }
  if (!member(chunk, "error").is_null()) {
    fail(fmt::format("the stream reports an error: {}", error_message(std::string(data))));
    return;
  }
  bool tokens = false;
  const Json& choices = member(chunk, "choices");
  if (choices.is_array()) {
    for (const Json& choice : choices) {
      tokens = tokens || carries_tokens(choice);
      finished_ = finished_ || member(choice, "finish_reason").is_string();
    }
  }
  if (tokens) answer_.deltas.push_back({now_ms, 1});
  const Json& engine_ttft = member(member(chunk, "fastcache"), "ttft_ms");
  if (engine_ttft.is_number()) answer_.engine_ttft_ms = engine_ttft.get<double>();
  const Json& usage = member(chunk, "usage");
  if (const auto n = count(usage, "prompt_tokens")) answer_.prompt_tokens = n;
  if (const auto n = count(usage, "completion_tokens")) answer_.output_tokens = n;
}

StreamedAnswer AnswerStream::finish() {
  if (!any_event_) fail("the answer is no stream of events");
  if (!done_ && !finished_) fail("the stream ended before the answer did");
  if (answer_.deltas.empty()) fail("the answer has no text");
  return std::move(answer_);
}

std::string error_message(const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  const Json& error = member(json, "error");
  for (const Json* text :
       {&member(error, "message"), &error, &member(json, "message"), &member(json, "detail")})
    if (text->is_string()) return excerpt(text->get<std::string>());
  return body.empty() ? "no message" : excerpt(body);
}

std::optional<std::string> first_model_in(const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  const Json& models = member(json, "data");
  if (!models.is_array() || models.empty()) return std::nullopt;
  const Json& id = member(models[0], "id");
  return id.is_string() ? std::optional(id.get<std::string>()) : std::nullopt;
}

}  // namespace fastcache::bench
