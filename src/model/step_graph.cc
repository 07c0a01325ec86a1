// SPDX-License-Identifier: Apache-2.0
#include "model/step_graph.h"

#include <ggml.h>

#include <algorithm>
#include <utility>

namespace fastcache::model {

StepGraph::StepGraph() = default;
StepGraph::~StepGraph() = default;

void StepGraph::FreeContext::operator()(ggml_context* context) const { ggml_free(context); }

void StepGraph::add(const char* name, Operation operation) {
  Node& node = nodes_.emplace_back();
  node.name = name;
  node.operation = std::move(operation);
  context_.reset();  // built anew at the next run
  graph_ = nullptr;
}

void StepGraph::call(ggml_tensor* /*dst*/, int ith, int nth, void* userdata) {
  Node* node = static_cast<Node*>(userdata);
  if (node->profiling && ith == 0) node->started = std::chrono::steady_clock::now();
  node->operation({.thread = ith, .n_threads = nth, .tasks = &node->tasks});
}

// The results of our operations lie in the step context, so a node's tensor is a single float whose only use
// is to order it after the node before.
void StepGraph::build() {
  const size_t n = nodes_.size();
  const size_t bytes = (ggml_tensor_overhead() + 64) * n + ggml_graph_overhead_custom(n, false) + 1024;
  context_.reset(ggml_init({.mem_size = bytes, .mem_buffer = nullptr, .no_alloc = false}));
  graph_ = ggml_new_graph_custom(context_.get(), n, false);
  ggml_tensor* previous = nullptr;
  for (Node& node : nodes_) {
    previous =
        ggml_custom_4d(context_.get(), GGML_TYPE_F32, 1, 1, 1, 1, previous == nullptr ? nullptr : &previous,
                       previous == nullptr ? 0 : 1, call, GGML_N_TASKS_MAX, &node);
  }
  if (previous != nullptr) ggml_build_forward_expand(graph_, previous);
}

void StepGraph::run(ComputePool& pool) {
  if (graph_ == nullptr) build();
  for (Node& node : nodes_) {
    node.tasks.reset();
    node.profiling = profiling_;
  }
  pool.compute(graph_);
  if (profiling_) add_to_profile(std::chrono::steady_clock::now());
}

void StepGraph::add_to_profile(std::chrono::steady_clock::time_point end) {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const auto until = i + 1 < nodes_.size() ? nodes_[i + 1].started : end;
    auto row = std::find_if(profile_.begin(), profile_.end(),
                            [&](const auto& r) { return r.name == nodes_[i].name; });
    if (row == profile_.end()) row = profile_.insert(profile_.end(), ProfileRow{.name = nodes_[i].name});
    row->seconds += std::chrono::duration<double>(until - nodes_[i].started).count();
    ++row->calls;
  }
}

std::vector<StepGraph::ProfileRow> StepGraph::take_profile() { return std::exchange(profile_, {}); }

}  // namespace fastcache::model
