// SPDX-License-Identifier: Apache-2.0
// Takes the computation of a library's graph away from the library, piece by piece: libmtmd evaluates a graph
// on a ggml scheduler of its own, with threads of its own. Installed as that scheduler's evaluation callback,
// this gathers the operations into slices of bounded cost, has each run by whoever owns the compute threads,
// and takes the mark "to be computed" off them; the scheduler then finds nothing left to do. Products that
// are dearer than a slice are cut into columns. An operation's result does not depend on the slice it is in.
//
// Nothing tells where a graph ends: it is taken to have as many operations as the one before. Of another,
// what is left behind the last full slice (less than a slice) the library computes on its own calling thread.
// Owner: the thread that calls the library.
#pragma once

#include <functional>
#include <memory>
#include <vector>

struct ggml_cgraph;
struct ggml_context;
struct ggml_tensor;

namespace fastcache::model {

class GraphSlicer {
 public:
  // Runs a slice to its end before it returns. False: give up; nothing more will be run.
  using Run = std::function<bool(ggml_cgraph*)>;

  // slice_cost: multiplications and additions of one slice; see cost_of() for other operations.
  explicit GraphSlicer(double slice_cost);
  ~GraphSlicer();
  GraphSlicer(const GraphSlicer&) = delete;
  GraphSlicer& operator=(const GraphSlicer&) = delete;

  // Of one evaluation: begin(), the library's call, end(). True: nobody gave up.
  void begin(Run run);
  bool end();

  // A ggml_backend_sched_eval_callback; user_data is the slicer.
  static bool on_node(ggml_tensor* node, bool ask, void* slicer);

 private:
  struct FreeContext {
    void operator()(ggml_context* context) const;
  };

  void see(ggml_tensor* node);
  void add(ggml_tensor* node);
  void run_pending();
  void run_in_columns(ggml_tensor* product, double cost);
  void run_nodes(ggml_tensor* const* nodes, size_t n);

  const double slice_cost_;
  std::unique_ptr<ggml_context, FreeContext> context_;
  ggml_cgraph* graph_ = nullptr;
  Run run_;
  bool given_up_ = false;
  std::vector<ggml_tensor*> pending_;
  double pending_cost_ = 0;
  int n_seen_ = 0;       // operations of this graph so far
  int n_expected_ = -1;  // of the graph before
};

}  // namespace fastcache::model
