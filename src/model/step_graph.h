// SPDX-License-Identifier: Apache-2.0
// The operations of one step in order, as a chain of ggml custom nodes: each runs on all compute threads, and
// a barrier stands between two of them. Built once per model; what changes from step to step (rows, pages) is
// read from the step context at run time, so no graph is ever rebuilt. Owner: the engine thread.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/compute_pool.h"
#include "base/work_range.h"

struct ggml_cgraph;
struct ggml_context;
struct ggml_tensor;

namespace fastcache::model {

class StepGraph {
 public:
  // Called from C on every compute thread: it must not throw and should not allocate.
  using Operation = std::function<void(const WorkRange&)>;

  StepGraph();
  ~StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  // `name` groups operations in the profile ("qkv", "attention"); must outlive the graph.
  void add(const char* name, Operation operation);

  // Runs all operations in order. Throws Error (internal) when ggml fails.
  void run(ComputePool& pool);

  struct ProfileRow {
    std::string name;
    double seconds =
        0;  // from its start on thread 0 to the start of the next operation there: barrier included
    int calls = 0;
  };
  void set_profiling(bool on) { profiling_ = on; }
  std::vector<ProfileRow> take_profile();  // since the last call, in the order of the graph

 private:
  struct Node {
    const char* name;
    Operation operation;
    TaskCounter tasks;
    bool profiling = false;
    std::chrono::steady_clock::time_point started{};
  };
  struct FreeContext {
    void operator()(ggml_context* context) const;
  };

  static void call(ggml_tensor* dst, int ith, int nth, void* userdata);
  void build();
  void add_to_profile(std::chrono::steady_clock::time_point end);

  std::deque<Node> nodes_;  // stable addresses: ggml keeps them as userdata
  std::unique_ptr<ggml_context, FreeContext> context_;
  ggml_cgraph* graph_ = nullptr;
  bool profiling_ = false;
  std::vector<ProfileRow> profile_;
};

}  // namespace fastcache::model
