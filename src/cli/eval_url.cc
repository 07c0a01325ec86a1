// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_url.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "bench/http_calls.h"
#include "eval/vision_message.h"
#include "eval/vision_score.h"
#include "image/data_url.h"

namespace fastcache::cli {
namespace {

using Json = nlohmann::json;

Json text_part(const std::string& text) { return {{"type", "text"}, {"text", text}}; }

Json content_of(const eval::VisionQuestion& question, bool blind) {
  if (blind) return eval::text_of(question);
  Json parts = Json::array();
  for (size_t i = 0; i < question.pictures.size(); ++i) {
    if (!question.before[i].empty()) parts.push_back(text_part(question.before[i]));
    const std::string url = image::make_data_url(eval::picture_bytes(question.pictures[i]));
    parts.push_back({{"type", "image_url"}, {"image_url", {{"url", url}}}});
  }
  if (!question.question.empty()) parts.push_back(text_part(question.question));
  return parts;
}

// The text of a chat completion, nothing if it is none.
std::optional<std::string> text_in(const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  static const Json::json_pointer kContent("/choices/0/message/content");
  if (json.is_discarded() || !json.contains(kContent)) return std::nullopt;
  const Json& content = json.at(kContent);
  if (content.is_null()) return std::string();
  return content.is_string() ? std::optional(content.get<std::string>()) : std::nullopt;
}

}  // namespace

std::vector<eval::VisionAnswer> ask_server(const bench::LoadServer& server, const std::string& model,
                                           std::span<const eval::VisionQuestion> questions,
                                           const eval::AskOptions& options) {
  std::vector<eval::VisionAnswer> answers(questions.size());
  int n_done = 0;
  const auto end = [&](int i, eval::VisionAnswer answer) {
    answer.asked = true;
    answers[static_cast<size_t>(i)] = std::move(answer);
    ++n_done;
  };
  const auto body = [&](int i) -> std::optional<std::string> {
    try {
      const Json message{{"role", "user"},
                         {"content", content_of(questions[static_cast<size_t>(i)], options.blind)}};
      return Json{{"model", model},
                  {"messages", Json::array({message})},
                  {"temperature", 0},
                  {"max_tokens", options.answer_tokens},
                  {"stream", false}}
          .dump();
    } catch (const Error& error) {
      end(i, {.error = error.what()});
    } catch (const Json::type_error&) {
      end(i, {.error = "the question is not UTF-8"});
    }
    return std::nullopt;
  };
  const auto on_reply = [&](int i, const bench::HttpReply& reply) {
    if (!reply.error.empty()) return end(i, {.error = reply.error});
    const std::optional<std::string> text = text_in(reply.body);
    if (!text) return end(i, {.error = "the server's reply holds no message"});
    end(i, {.text = *text, .score = eval::score_answer(questions[static_cast<size_t>(i)], *text)});
  };
  bench::run_http_calls({.server = server,
                         .path = "/v1/chat/completions",
                         .n = static_cast<int>(questions.size()),
                         .concurrency = options.concurrency,
                         .body = body,
                         .on_reply = on_reply,
                         .go_on = [&] {
                           return !options.progress ||
                                  options.progress(n_done, static_cast<int>(questions.size()), "questions");
                         }});
  return answers;
}

}  // namespace fastcache::cli
