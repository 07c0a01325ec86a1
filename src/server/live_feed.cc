// SPDX-License-Identifier: Apache-2.0
#include "server/live_feed.h"

#include <spdlog/fmt/fmt.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/error.h"
#include "server/state_json.h"

namespace fastcache::server {
namespace {

// Far more than the page shows, since the tokens of all that run are counted.
constexpr size_t kRequestsRead = 1024;

int64_t now_ms() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
}

// Both as of the same step, so that a request which ends in between is neither missing nor counted twice. A
// model so small that its steps are faster than this gets the last try.
std::string read_engine(const Engine& engine) {
  EngineStats stats;
  std::vector<RequestFigures> requests;
  for (int tries = 0; tries < 4; ++tries) {
    stats = engine.stats();
    requests = engine.requests(kRequestsRead);
    if (engine.stats().steps == stats.steps) break;
  }
  return state_json(stats, requests, engine.model());
}

// gcc 12 cannot have braced lists in a coroutine.
Headers json_headers() { return {{"Cache-Control", "no-store"}}; }
// X-Accel-Buffering: nginx is to pass each event on at once.
Headers event_headers() { return {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}}; }

boost::asio::awaitable<void> send_json(HttpReply& reply, std::string json) {
  co_await reply.send(200, "application/json", std::move(json), json_headers());
}

}  // namespace

// Stands in the feed's list for as long as its coroutine lives.
struct LiveFeed::Watcher {
  Watcher(std::shared_ptr<LiveFeed> owner, HttpReply& to)
      : feed(std::move(owner)), reply(to), timer(feed->executor_) {
    at = feed->wakers_.insert(feed->wakers_.end(), this);
    reply.on_client_gone([this] {
      gone = true;
      timer.cancel();
    });
  }
  ~Watcher() {
    reply.on_client_gone({});
    feed->wakers_.erase(at);
  }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // The next message that this watcher has not had; nothing if there was none for so long that the client
  // should hear that the server still lives.
  boost::asio::awaitable<std::shared_ptr<const std::string>> next() {
    if (seen == feed->version_ && !done()) {
      timer.expires_after(feed->options_.keep_alive);
      boost::system::error_code ignored;
      co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    }
    if (seen == feed->version_) co_return nullptr;
    seen = feed->version_;
    co_return feed->message_;
  }

  bool done() const { return gone || feed->closed_; }

  std::shared_ptr<LiveFeed> feed;
  HttpReply& reply;
  boost::asio::steady_timer timer;
  std::list<Watcher*>::iterator at;
  uint64_t seen = 0;
  bool gone = false;
};

LiveFeed::LiveFeed(boost::asio::any_io_executor executor, ReadState read, Clock clock,
                   LiveFeedOptions options)
    : executor_(std::move(executor)),
      read_(std::move(read)),
      clock_(std::move(clock)),
      options_(options),
      timer_(executor_) {}

std::string LiveFeed::state() const { return stamped_json(clock_(), read_()); }

boost::asio::awaitable<void> LiveFeed::watch(std::shared_ptr<LiveFeed> feed, HttpReply& reply) {
  if (feed->closed_) throw Error{Code::overloaded, "the server is shutting down"};
  if (feed->watchers() >= feed->options_.max_watchers)
    throw Error{Code::overloaded,
                fmt::format("{} pages watch this server already, and it serves no more; close one",
                            feed->options_.max_watchers)};
  Watcher watcher{feed, reply};
  if (feed->watchers() == 1) feed->tick();  // nobody watched since the last tick
  feed->arm();
  co_await reply.begin_stream("text/event-stream", event_headers());
  watcher.seen = 0;  // everyone begins with the state as it is
  while (!watcher.done()) {
    const std::shared_ptr<const std::string> message = co_await watcher.next();
    if (watcher.done()) break;
    std::string text =
        message ? *message : ": still here\n\n";  // gcc 12 destroys a temporary of ?: twice here
    co_await reply.write(std::move(text));
  }
  if (!watcher.gone) co_await reply.end_stream();
}

void LiveFeed::tick() {
  std::string state = read_();
  if (version_ > 0 && state == state_) return;
  state_ = std::move(state);
  message_ = std::make_shared<const std::string>("data: " + stamped_json(clock_(), state_) + "\n\n");
  ++version_;
  wake();
}

void LiveFeed::close() {
  closed_ = true;
  timer_.cancel();
  wake();
}

void LiveFeed::wake() {
  for (Watcher* watcher : wakers_) watcher->timer.cancel();
}

void LiveFeed::arm() {
  if (armed_ || closed_) return;
  armed_ = true;
  timer_.expires_after(options_.tick);
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    const std::shared_ptr<LiveFeed> self = weak.lock();
    if (!self) return;
    self->armed_ = false;
    if (error || self->wakers_.empty()) return;
    self->tick();
    self->arm();
  });
}

std::shared_ptr<LiveFeed> make_live_feed(boost::asio::any_io_executor executor, const Engine& engine,
                                         LiveFeedOptions options) {
  return std::make_shared<LiveFeed>(
      std::move(executor), [&engine] { return read_engine(engine); }, now_ms, options);
}

std::vector<Route> live_routes(const std::shared_ptr<LiveFeed>& feed) {
  // The coroutines take what they need as arguments: a lambda's captures may be gone before its coroutine
  // ends.
  return {
      {.method = "GET",
       .path = "/fastcache/state",
       .handler = [feed](const HttpRequest&, HttpReply& reply) { return send_json(reply, feed->state()); }},
      {.method = "GET",
       .path = "/fastcache/events",
       .handler = [feed](const HttpRequest&, HttpReply& reply) { return LiveFeed::watch(feed, reply); }},
      {.method = "GET", .path = "/fastcache/presses", .handler = [](const HttpRequest&, HttpReply& reply) {
         return send_json(reply, presses_json());
       }}};
}

}  // namespace fastcache::server
