// SPDX-License-Identifier: Apache-2.0
// Between the engine thread, which writes one request's answers, and whoever reads them. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "fastcache/engine.h"

namespace fastcache::engine {

class AnswerChannel {
 public:
  // on_news is called on the engine thread, after what is new can be read.
  explicit AnswerChannel(std::function<void()> on_news = {}) : on_news_(std::move(on_news)) {}

  // --- engine thread
  void push(Delta delta);
  void end(const Summary& summary);                             // nothing comes after it
  void fail(std::exception_ptr error, const Summary& summary);  // in place of end()
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  // --- reader: as in fastcache::Answer
  std::optional<Delta> next();
  Answer::Poll poll(Delta& delta);
  bool has_news() const;  // next() would not block
  Summary summary() const;
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }

 private:
  void close(std::exception_ptr error, const Summary& summary);
  void tell();
  // What next() returns, with the lock held and something to say.
  Answer::Poll take(Delta& delta);

  const std::function<void()> on_news_;

  mutable std::mutex mutex_;
  std::condition_variable news_;
  std::deque<Delta> deltas_;
  bool ended_ = false;
  std::exception_ptr error_;
  Summary summary_;
  std::atomic<bool> cancelled_{false};
};

// What a user holds: the request is cancelled when the last copy goes.
std::shared_ptr<Answer> make_answer(std::shared_ptr<AnswerChannel> channel);

}  // namespace fastcache::engine
