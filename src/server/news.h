// SPDX-License-Identifier: Apache-2.0
// Wakes a coroutine of the server's thread when another thread has something for it. Many signals before it
// wakes are one.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <memory>
#include <mutex>

namespace fastcache::server {

class News {
 public:
  explicit News(boost::asio::io_context& io);
  ~News();  // on the server's thread, before the io_context goes
  News(const News&) = delete;
  News& operator=(const News&) = delete;

  // Resumes at once if there was a signal since the last wait. One waiter at a time.
  boost::asio::awaitable<void> wait();

  // Any thread, at any time, even after the News are gone: never blocks for long, never throws.
  class Signal {
   public:
    void operator()() const noexcept;

   private:
    friend class News;
    struct Shared;
    explicit Signal(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
    std::shared_ptr<Shared> shared_;
  };
  Signal signal() const { return Signal(shared_); }

 private:
  std::shared_ptr<Signal::Shared> shared_;
  boost::asio::steady_timer timer_;  // never runs out: cancelling it wakes the waiter
  bool arrived_ = false;
};

}  // namespace fastcache::server
