// SPDX-License-Identifier: Apache-2.0
#include "bench/load_bodies.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::bench {
namespace {

using Json = nlohmann::json;

bool is_chat(const std::string& endpoint) {
  const bool chat = endpoint.ends_with("/chat/completions");
  if (!endpoint.starts_with('/') || !(chat || endpoint.ends_with("/completions"))) {
    throw Error{Code::bad_request,
                fmt::format("--endpoint {}: it must be /v1/completions or /v1/chat/completions", endpoint)};
  }
  return chat;
}

Json parse_extra(const std::string& extra) {
  if (extra.empty()) return Json::object();
  Json json = Json::parse(extra, nullptr, false);
  if (!json.is_object()) {
    throw Error{Code::bad_request,
                fmt::format("--extra-body {}: it must be a JSON object, such as {{\"top_p\": 0.9}}", extra)};
  }
  return json;
}

void add_prompt(Json& body, const LoadPrompt& prompt, bool chat) {
  if (!prompt.tokens.empty()) {
    if (chat)
      throw Error{Code::bad_request,
                  "chats are made of text: token ids (-m) need --endpoint /v1/completions"};
    body["prompt"] = prompt.tokens;
  } else if (!prompt.messages.empty()) {
    if (!chat)
      throw Error{Code::bad_request, "the dataset has messages: they need --endpoint /v1/chat/completions"};
    body["messages"] = Json::parse(prompt.messages);
  } else if (chat) {
    body["messages"] = Json::array({{{"role", "user"}, {"content", prompt.text}}});
  } else {
    body["prompt"] = prompt.text;
  }
}

}  // namespace

std::vector<LoadBody> make_bodies(const std::vector<LoadPrompt>& prompts, const BodyOptions& options) {
  const bool chat = is_chat(options.endpoint);
  const Json extra = parse_extra(options.extra);
  std::vector<LoadBody> bodies;
  for (const LoadPrompt& prompt : prompts) {
    LoadBody& made = bodies.emplace_back();
    made.generate_tokens = prompt.generate_tokens > 0 ? prompt.generate_tokens : options.generate_tokens;
    made.prompt_tokens = static_cast<int>(prompt.tokens.size());
    Json body{{"model", options.model},
              {"max_tokens", made.generate_tokens},
              {"temperature", 0},
              {"stream", true},
              {"stream_options", {{"include_usage", true}}}};
    if (options.ignore_eos) body["ignore_eos"] = true;
    add_prompt(body, prompt, chat);
    body.update(extra);
    made.json = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return bodies;
}

}  // namespace fastcache::bench
