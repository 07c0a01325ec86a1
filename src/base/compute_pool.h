// SPDX-License-Identifier: Apache-2.0
// The one set of compute threads of the process: graphs, compression, statistics and sampling all run on it,
// so that no two pools ever fight for a core. Owner: one thread at a time (the engine thread) calls run(),
// parallel_for() and compute(); they do not nest. The threads start with the first work: until then a program
// may still fork (model/child_process.h) as a process of one thread.
#pragma once

#include <functional>
#include <memory>

#include "base/work_range.h"

struct ggml_cgraph;
struct ggml_threadpool;

namespace fastcache {

class ComputePool {
 public:
  // n_threads >= 1, the caller's thread included; 0 means one for each core this process may use.
  explicit ComputePool(int n_threads = 0);
  ~ComputePool();
  ComputePool(const ComputePool&) = delete;
  ComputePool& operator=(const ComputePool&) = delete;

  int n_threads() const;

  // Calls work once on each thread and returns when all have returned. work must not throw: it is called from
  // C.
  void run(const std::function<void(const WorkRange&)>& work);

  // Calls body(i) for each i in [0, n), in no order, on all threads. body must not throw.
  void parallel_for(int n, const std::function<void(int)>& body);

  // Evaluates a graph of CPU nodes. Throws Error (internal) when ggml reports a failure.
  void compute(ggml_cgraph* graph);

  // The pool under it, for libraries (vision encoder) that must share these threads.
  ggml_threadpool* ggml() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache
