// SPDX-License-Identifier: Apache-2.0
// What the start page watches: one text, made once per tick however many watch, sent when it changed.
// Owner: the server's thread, every function.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "fastcache/engine.h"
#include "server/http.h"

namespace fastcache::server {

struct LiveFeedOptions {
  std::chrono::milliseconds tick{250};
  std::chrono::milliseconds keep_alive{15'000};  // silence after which a comment is sent
  int max_watchers = 64;                         // more are refused (overloaded)
};

class LiveFeed : public std::enable_shared_from_this<LiveFeed> {
 public:
  using ReadState = std::function<std::string()>;
  using Clock = std::function<int64_t()>;  // ms since the epoch

  // Nothing is read and no timer runs while nobody watches.
  LiveFeed(boost::asio::any_io_executor executor, ReadState read, Clock clock, LiveFeedOptions options = {});

  std::string state() const;  // stamped_json() of this moment
  int watchers() const { return static_cast<int>(wakers_.size()); }

  // Server-sent events until the client leaves or the feed closes. Throws Error (overloaded) before anything
  // is sent. The coroutine owns a share of the feed; request and reply outlive it.
  static boost::asio::awaitable<void> watch(std::shared_ptr<LiveFeed> feed, HttpReply& reply);

  void tick();   // what the timer does: reads, and wakes the watchers if the state is another
  void close();  // all watchers end, later ones are refused: for a server that drains

 private:
  struct Watcher;
  void arm();
  void wake();

  boost::asio::any_io_executor executor_;
  ReadState read_;
  Clock clock_;
  LiveFeedOptions options_;
  boost::asio::steady_timer timer_;
  bool armed_ = false;
  bool closed_ = false;
  std::string state_;                           // of the last tick
  std::shared_ptr<const std::string> message_;  // the event made of it, shared by all watchers
  uint64_t version_ = 0;                        // of message_
  std::list<Watcher*> wakers_;                  // those that watch; each lives in its own coroutine
};

// Of an engine, which outlives it.
std::shared_ptr<LiveFeed> make_live_feed(boost::asio::any_io_executor executor, const Engine& engine,
                                         LiveFeedOptions options = {});

// GET /fastcache/state, /fastcache/events, /fastcache/presses.
std::vector<Route> live_routes(const std::shared_ptr<LiveFeed>& feed);

}  // namespace fastcache::server
