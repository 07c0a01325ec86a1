// SPDX-License-Identifier: Apache-2.0
// From the body of a request to answers that are on their way: all that takes time before the first token.
// Runs on the API's worker.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fastcache/engine.h"
#include "server/api.h"
#include "server/api_request.h"

namespace fastcache::server {

struct StartedCompletion {
  CompletionCall call = {};
  std::vector<std::shared_ptr<Answer>> answers = {};  // [prompts], each with call.request.n choices
  std::vector<std::string> echoes = {};               // [prompts], empty unless asked for
  std::function<std::unique_ptr<ChatParser>()> make_parser = {};  // of chats
};

// on_news: as of Engine::submit, for all answers. Throws Error: what parsing, the chat template and
// Engine::submit throw; nothing goes on then.
StartedCompletion start_completion(const Api& api, Endpoint endpoint, std::string_view body,
                                   const std::function<void()>& on_news);

}  // namespace fastcache::server
