// SPDX-License-Identifier: Apache-2.0
#include "server/completion_start.h"

#include <spdlog/fmt/fmt.h>

#include <random>

#include "server/api_error.h"

namespace fastcache::server {
namespace {

uint64_t seed_by_chance() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

Request complete(const Request& request, const Api& api) {
  Request completed = request;
  if (completed.max_tokens == 0) completed.max_tokens = api.engine().model().context_tokens;
  return completed;
}

// Before its pictures are looked for: the engine would say the same once they have all been fetched.
void check_pictures(const CompletionCall& call, Api& api) {
  if (call.pictures.empty()) return;
  if (!api.engine().model().has_vision) {
    const std::string& path = call.pictures.front().path;
    throw ApiError{
        Code::unsupported,
        fmt::format("{} is a picture, and this model has no vision; a server started with --mmproj "
                    "has a vision encoder",
                    path),
        path};
  }
  api.images().check(call.pictures);
}

void prepare_chat(StartedCompletion& started, Api& api, const std::function<void()>& on_news) {
  check_pictures(started.call, api);
  PreparedChat chat = api.engine().prepare_chat(started.call.chat);
  Request request = complete(started.call.request, api);
  if (!started.call.has_seed) request.sampling.seed = seed_by_chance();
  request.tokens = std::move(chat.tokens);
  if (!chat.grammar.empty()) request.sampling.grammar = std::move(chat.grammar);
  if (!chat.json_schema.empty()) request.sampling.json_schema = std::move(chat.json_schema);
  request.stop.insert(request.stop.end(), chat.stop.begin(), chat.stop.end());
  started.make_parser = std::move(chat.make_parser);
  started.echoes.emplace_back();
  if (started.call.pictures.empty()) {
    started.answers.push_back(api.engine().submit(std::move(request), on_news));
  } else {
    started.waiting = std::move(request);
  }
}

// With a seed of the user's, an answer does not depend on the prompts beside it; else chance is new for each.
void start_prompts(StartedCompletion& started, const Api& api, const std::function<void()>& on_news) {
  const CompletionCall& call = started.call;
  for (const Prompt& prompt : call.prompts) {
    Request request = complete(call.request, api);
    if (!call.has_seed) request.sampling.seed = seed_by_chance();
    request.prompt = prompt.text;
    request.tokens = prompt.tokens;
    std::string echo;
    if (call.echo) echo = prompt.tokens.empty() ? prompt.text : api.engine().detokenize(prompt.tokens);
    started.echoes.push_back(std::move(echo));
    started.answers.push_back(api.engine().submit(std::move(request), on_news));
  }
}

}  // namespace

StartedCompletion start_completion(Api& api, Endpoint endpoint, std::string_view body,
                                   const std::function<void()>& on_news) {
  StartedCompletion started;
  started.call = parse_completion_call(endpoint, body, api.options().defaults);
  api.check_model(started.call.model);
  if (endpoint == Endpoint::chat)
    prepare_chat(started, api, on_news);
  else
    start_prompts(started, api, on_news);
  return started;
}

void submit_waiting(StartedCompletion& started, const Api& api, std::vector<Picture> pictures,
                    const std::function<void()>& on_news) {
  Request& request = *started.waiting;
  for (Picture& picture : pictures)
    request.pictures.push_back(std::make_shared<const Picture>(std::move(picture)));
  started.answers.push_back(api.engine().submit(std::move(request), on_news));
  started.waiting.reset();
}

}  // namespace fastcache::server
