// SPDX-License-Identifier: Apache-2.0
// How one operation is shared out among the threads of the compute pool.
#pragma once

#include <atomic>

namespace fastcache {

// Hands out the numbers 0 .. n-1 to whichever thread is free. It must be reset before the operation starts,
// by the thread that starts it. Results never depend on who takes which task.
class TaskCounter {
 public:
  void reset() { next_.store(0, std::memory_order_relaxed); }
  int take() { return next_.fetch_add(1, std::memory_order_relaxed); }

 private:
  std::atomic<int> next_{0};
};

// What a kernel is called with, once on each thread.
struct WorkRange {
  int thread = 0;  // 0 .. n_threads-1
  int n_threads = 1;
  TaskCounter* tasks = nullptr;  // shared by the threads of this operation
};

}  // namespace fastcache
