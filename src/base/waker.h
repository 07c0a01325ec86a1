// SPDX-License-Identifier: Apache-2.0
// Lets one thread sleep until another has news for it. Any thread may call any function.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace fastcache {

class Waker {
 public:
  void wake() {
    const std::lock_guard lock(mutex_);
    has_news_ = true;
    news_.notify_one();
  }
  // Until wake() was called since the last wait, or so much time has passed: for a sleeper that also looks at
  // something that wakes nobody, such as Ctrl-C.
  void wait(std::chrono::milliseconds longest = std::chrono::milliseconds(50)) {
    std::unique_lock lock(mutex_);
    news_.wait_for(lock, longest, [this] { return has_news_; });
    has_news_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable news_;
  bool has_news_ = false;
};

}  // namespace fastcache
