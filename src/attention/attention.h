// SPDX-License-Identifier: Apache-2.0
// Attention of ragged query rows over paged K and V, read in place, on the compute pool.
//
// One call serves one layer of one step: prefill chunks and decode rows of many sequences, flattened. Query
// heads of one KV head share each page that is read. Long sequences are split along KV at fixed absolute
// boundaries (a number of table entries) and merged by log-sum-exp in a fixed order, so that a query's result
// has the same bits whatever the chunking, its companions and the number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "attention/rope.h"
#include "base/cpu_features.h"
#include "base/work_range.h"
#include "kv/page_layout.h"

namespace fastcache::attention {

struct AttentionKernel;

// Table entries per split along KV. Splits, and groups of entries within them, are counted from the first
// entry that the table ever had (kv::HeadRows::entries_before). Whoever frees pages at the front of a table
// (sliding windows) removes a multiple of entries_per_group() of the sequence's own type, counted from there,
// or leaves entries with rows_used = 0: then no query's bits change.
constexpr int kSplitEntries = 32;
constexpr int kGroupRows = 64;  // cache rows that a kernel takes at a time: 8 f32, 4 bf16 or 2 int8 pages

// A quantised page is a group, or two.
constexpr int entries_per_group(kv::KvType type) {
  return kv::is_quantized(type) ? 1 : kGroupRows / kv::rows_per_page(type);
}

// Layers of a model whose queries look at keys in a way of their own: through a window, with angles of
// their own.
struct LocalLayers {
  std::vector<bool> is_local;  // [n_layers]
  int window = 0;
  const RopeTable* rope = nullptr;
};

struct AttentionShape {
  int n_heads = 0;  // query heads; query head h reads KV head h / (n_heads / n_kv_heads)
  int n_kv_heads = 0;
  int head_dim = 0;                    // multiple of 16
  float scale = 0.0f;                  // usually 1 / sqrt(head_dim)
  float softcap = 0.0f;                // s -> softcap * tanh(s / softcap); 0 = none
  int window = 0;                      // a query at position p sees positions > p - window only; 0 = all
  const RopeTable* rope = nullptr;     // needed only where a table entry has a position_delta
  const LocalLayers* local = nullptr;  // of a model's shape: the layers that differ; null: none
};

// How one layer of a model looks at keys, from the model's shape.
AttentionShape layer_shape(const AttentionShape& of_model, int layer);

// The new rows of one sequence. Its K and V of this step are already in the pages: each head's last n_queries
// rows.
struct AttentionSequence {
  int first_query = 0;  // row in q and out
  int n_queries = 0;
  const int32_t* query_positions = nullptr;  // [n_queries] logical; needed with a window or a position_delta
  const int32_t* visible_new = nullptr;      // [n_queries]: how many of the n_queries new rows query i sees;
                                         //   null = causal (i + 1); larger inside spans that are not causal
  std::span<const kv::HeadRows> heads;  // [n_kv_heads]; heads may hold different numbers of rows
};

struct AttentionBatch {
  AttentionShape shape;
  kv::PageMemory pages;
  std::span<const AttentionSequence> sequences;
  const float* q = nullptr;  // [n_queries of all, q_stride]: n_heads * head_dim used, RoPE applied
  size_t q_stride = 0;       // in floats
  float* out = nullptr;      // [n_queries of all, out_stride]: n_heads * head_dim written
  size_t out_stride = 0;
};

// The step's work cut into tasks of similar size, with the scratch they need. Reused from step to step, so
// that steady decoding allocates nothing. One per layer that may run in the same graph.
class AttentionWork {
 public:
  AttentionWork();                                 // with the kernel of selected_isa()
  explicit AttentionWork(const AttentionKernel&);  // with this one: tests, measurements
  ~AttentionWork();
  AttentionWork(AttentionWork&&) noexcept;
  AttentionWork& operator=(AttentionWork&&) noexcept;

  // Plans the tasks; before the step, on the engine thread. Keeps views of what the batch points to.
  // n_threads sizes the per-thread scratch. Throws Error (unsupported) for a head_dim that no kernel takes.
  void plan(const AttentionBatch& batch, int n_threads);

  // Does the tasks; called once on each compute thread, after range.tasks was reset. Allocates nothing, never
  // throws.
  void run(const WorkRange& range) noexcept;
  // The same with q and out that were not known when planning (graph memory); the strides are the planned
  // ones.
  void run(const WorkRange& range, const float* q, float* out) noexcept;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache::attention
