// SPDX-License-Identifier: Apache-2.0
// From the body of a request to answers that are on their way: all that takes time before the first token.
// Runs on the API's worker.
#pragma once

#include <functional>
#include <memory>
#include <optional>
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
  std::optional<Request> waiting =
      {};  // of a chat whose pictures are still to be loaded: it has no answer yet
};

// on_news: as of Engine::submit, for all answers. Throws Error: what parsing, the chat template, the check of
// its pictures and Engine::submit throw; nothing goes on then.
StartedCompletion start_completion(Api& api, Endpoint endpoint, std::string_view body,
                                   const std::function<void()>& on_news);

// Sends what waited for its pictures, [call.pictures]. Throws Error: what Engine::submit throws.
void submit_waiting(StartedCompletion& started, const Api& api, std::vector<image::Picture> pictures,
                    const std::function<void()>& on_news);

}  // namespace fastcache::server
