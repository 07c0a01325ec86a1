// SPDX-License-Identifier: Apache-2.0
#include "model/graph_slicer.h"

#include <ggml.h>

#include <algorithm>
#include <utility>

namespace fastcache::model {
namespace {

constexpr size_t kMaxNodes = 256;  // of a slice

// An elementwise operation moves memory and may take an exponential: about as dear as so many
// multiplications.
constexpr double kElementCost = 16;

double elements(const ggml_tensor* tensor) { return static_cast<double>(ggml_nelements(tensor)); }

bool does_nothing(const ggml_tensor* node) {
  switch (node->op) {
    case GGML_OP_NONE:
    case GGML_OP_RESHAPE:
    case GGML_OP_VIEW:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
      return true;
    default:
      return ggml_is_empty(node);
  }
}

double cost_of(const ggml_tensor* node) {
  switch (node->op) {
    case GGML_OP_MUL_MAT:
      return 2 * elements(node) * static_cast<double>(node->src[0]->ne[0]);
    case GGML_OP_FLASH_ATTN_EXT:  // q [d, n_q, heads], k [d, n_k, heads]
      return 4 * elements(node->src[0]) * static_cast<double>(node->src[1]->ne[1]);
    default:
      return kElementCost * elements(node);
  }
}

// One matrix of inputs, its rows behind each other: a part of its columns is a product of its own.
bool can_be_cut(const ggml_tensor* node) {
  if (node->op != GGML_OP_MUL_MAT || node->ne[1] < 2 || node->ne[2] != 1 || node->ne[3] != 1) return false;
  const ggml_tensor* input = node->src[1];
  return input->type == GGML_TYPE_F32 && ggml_is_contiguous(input) && ggml_is_contiguous(node);
}

ggml_tensor columns(const ggml_tensor& of, int64_t begin, int64_t n) {
  ggml_tensor part = of;
  part.data = static_cast<char*>(of.data) + static_cast<size_t>(begin) * of.nb[1];
  part.ne[1] = n;
  part.nb[2] = part.nb[3] = static_cast<size_t>(n) * of.nb[1];
  return part;
}

}  // namespace

void GraphSlicer::FreeContext::operator()(ggml_context* context) const { ggml_free(context); }

GraphSlicer::GraphSlicer(double slice_cost) : slice_cost_(slice_cost) {
  const size_t bytes = ggml_graph_overhead_custom(kMaxNodes, false) + 1024;
  context_.reset(ggml_init({.mem_size = bytes, .mem_buffer = nullptr, .no_alloc = true}));
  graph_ = ggml_new_graph_custom(context_.get(), kMaxNodes, false);
}

GraphSlicer::~GraphSlicer() = default;

void GraphSlicer::begin(Run run) {
  run_ = std::move(run);
  given_up_ = false;
  pending_.clear();
  pending_cost_ = 0;
  n_seen_ = 0;
}

bool GraphSlicer::end() {
  pending_.clear();  // the library has computed these itself
  n_expected_ = n_seen_;
  run_ = nullptr;
  return !given_up_;
}

bool GraphSlicer::on_node(ggml_tensor* node, bool ask, void* slicer) {
  if (ask) static_cast<GraphSlicer*>(slicer)->see(node);
  return !ask;  // the scheduler never has to stop for us at a node
}

void GraphSlicer::see(ggml_tensor* node) {
  add(node);
  if (++n_seen_ == n_expected_) run_pending();
}

void GraphSlicer::add(ggml_tensor* node) {
  if (does_nothing(node) || (node->flags & GGML_TENSOR_FLAG_COMPUTE) == 0) return;
  if (given_up_) {
    node->flags &= ~GGML_TENSOR_FLAG_COMPUTE;
    return;
  }
  const double cost = cost_of(node);
  if (cost > slice_cost_ && can_be_cut(node)) {
    run_pending();
    run_in_columns(node, cost);
    node->flags &= ~GGML_TENSOR_FLAG_COMPUTE;
    return;
  }
  pending_.push_back(node);
  pending_cost_ += cost;
  if (pending_cost_ >= slice_cost_ || pending_.size() == kMaxNodes) run_pending();
}

void GraphSlicer::run_pending() {
  run_nodes(pending_.data(), pending_.size());
  for (ggml_tensor* node : pending_) node->flags &= ~GGML_TENSOR_FLAG_COMPUTE;
  pending_.clear();
  pending_cost_ = 0;
}

void GraphSlicer::run_in_columns(ggml_tensor* product, double cost) {
  const int64_t n = product->ne[1];
  const auto n_parts = std::min<int64_t>(n, static_cast<int64_t>(cost / slice_cost_) + 1);
  const int64_t per_part = (n + n_parts - 1) / n_parts;
  for (int64_t begin = 0; begin < n; begin += per_part) {
    const int64_t n_columns = std::min(per_part, n - begin);
    ggml_tensor out = columns(*product, begin, n_columns);
    ggml_tensor in = columns(*product->src[1], begin, n_columns);
    out.src[1] = &in;
    ggml_tensor* node = &out;
    run_nodes(&node, 1);
  }
}

void GraphSlicer::run_nodes(ggml_tensor* const* nodes, size_t n) {
  if (n == 0 || given_up_) return;
  ggml_graph_clear(graph_);
  for (size_t i = 0; i < n; ++i) ggml_graph_add_node(graph_, nodes[i]);
  given_up_ = !run_(graph_);
}

}  // namespace fastcache::model
