// SPDX-License-Identifier: Apache-2.0
#include "server/completions.h"

#include <atomic>
#include <exception>

#include "base/log.h"
#include "server/api_error.h"
#include "server/completion_run.h"
#include "server/news.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;

// What the client's leaving reaches: the handler may wait meanwhile, for the worker or for a full socket.
struct ClientWatch {
  std::atomic<bool> gone{false};  // the worker looks too
  std::vector<std::weak_ptr<Answer>> answers;
  std::shared_ptr<ImageSource::Load> pictures;  // on their way

  void leave() {
    gone = true;
    if (pictures) pictures->stop();
    for (const auto& weak : answers)
      if (const auto answer = weak.lock()) answer->cancel();
  }
};

class Watching {
 public:
  Watching(HttpReply& reply, const News& news) : reply_(reply), watch_(std::make_shared<ClientWatch>()) {
    reply_.on_client_gone([watch = watch_, signal = news.signal()] {
      watch->leave();
      signal();
    });
  }
  ~Watching() { reply_.on_client_gone({}); }
  Watching(const Watching&) = delete;
  Watching& operator=(const Watching&) = delete;

  void watch(const std::vector<std::shared_ptr<Answer>>& answers) {
    watch_->answers.assign(answers.begin(), answers.end());
    if (watch_->gone) watch_->leave();
  }
  void watch(const std::shared_ptr<ImageSource::Load>& pictures) {
    watch_->pictures = pictures;
    if (watch_->gone) watch_->leave();
  }
  void check() const {
    if (watch_->gone) throw ClientGone{};
  }

 private:
  HttpReply& reply_;
  std::shared_ptr<ClientWatch> watch_;
};

ResponseHead head_of(const Api& api, Endpoint endpoint, const HttpRequest& request) {
  return {.endpoint = endpoint,
          .id = (endpoint == Endpoint::chat ? "chatcmpl-" : "cmpl-") + request.id,
          .created = seconds_since_1970(),
          .model = api.model_name(),
          .fingerprint = api.fingerprint()};
}

asio::awaitable<void> begin_events(HttpReply& reply) {
  // Proxies must not collect what is meant to arrive token by token.
  Headers headers{{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  co_await reply.begin_stream("text/event-stream", std::move(headers));
}

asio::awaitable<void> send_events(CompletionRun& run, HttpReply& reply) {
  std::string events = run.take_events();
  if (events.empty()) co_return;
  if (!reply.has_begun()) co_await begin_events(reply);
  co_await reply.write(std::move(events));
}

asio::awaitable<void> send_answers(CompletionRun& run, News& news, const Watching& client, HttpReply& reply) {
  while (true) {
    client.check();
    std::exception_ptr failure;
    try {
      run.poll();
    } catch (const Error&) {
      failure = std::current_exception();
    }
    if (run.stream()) co_await send_events(run, reply);  // what came before the failure leaves before it
    if (failure) std::rethrow_exception(failure);
    if (run.ended()) break;
    co_await news.wait();
  }
  if (run.stream())
    co_await reply.end_stream();
  else
    co_await reply.send(200, "application/json", run.whole());
}

// The pixels count as held until the answers have ended.
asio::awaitable<HeldPixels> load_pictures(Api& api, StartedCompletion& started, Watching& client,
                                          const std::function<void()>& on_news) {
  const auto load = api.images().make_load();
  client.watch(load);
  LoadedPictures loaded = co_await load->run(started.call.pictures);
  const auto submit = [&] {
    client.check();
    submit_waiting(started, api, std::move(loaded.pictures), on_news);
  };
  co_await api.on_worker(submit);
  co_return std::move(loaded.held);
}

asio::awaitable<void> answer(Api& api, Endpoint endpoint, const HttpRequest& request, HttpReply& reply) {
  const auto began = CompletionRun::Clock::now();
  News news(api.io());
  Watching client(reply, news);
  const std::function<void()> on_news = news.signal();
  const auto start = [&] {
    client.check();  // it may have left while others' prompts were prepared
    return start_completion(api, endpoint, request.body, on_news);
  };
  StartedCompletion started = co_await api.on_worker(start);
  HeldPixels held;
  if (started.waiting) held = co_await load_pictures(api, started, client, on_news);
  client.watch(started.answers);
  CompletionRun run(api, std::move(started), head_of(api, endpoint, request), began);
  co_await send_answers(run, news, client, reply);
}

}  // namespace

asio::awaitable<void> answer_completion(Api& api, Endpoint endpoint, const HttpRequest& request,
                                        HttpReply& reply) {
  std::string event;  // of an error in a stream that has begun
  try {
    co_await answer(api, endpoint, request, reply);
  } catch (const Error& error) {
    if (!reply.has_begun()) throw;
    api.metrics()->error(code_name(error.code()));
    log().warn("request {} failed while its answer was streamed: {}", request.id, error.what());
    event = "data: " + to_json(error_body(error)) + "\n\n";
  }
  if (event.empty()) co_return;
  event += kStreamDone;
  co_await reply.write(std::move(event));
  co_await reply.end_stream();
}

}  // namespace fastcache::server
