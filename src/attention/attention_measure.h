// SPDX-License-Identifier: Apache-2.0
// Times the product's own attention, plan included, for `fastcache bench --kernels`: on pages that lie about
// in memory as a pool's do after a while, as many as a model's layers have (so decoding reads from memory,
// not from a cache).
#pragma once

#include <functional>
#include <vector>

#include "attention/attention.h"
#include "attention/attention_kernel.h"

namespace fastcache::attention {

struct MeasureShape {
  int n_heads = 9;
  int n_kv_heads = 3;
  int head_dim = 64;
  kv::KvType type = kv::KvType::bf16;
  int n_sequences = 1;
  int n_queries = 1;     // of each sequence: 1 = decode
  int depth = 1024;      // rows before them
  int n_layers = 30;     // each has K and V of its own
  bool shuffled = true;  // page order in memory
};

struct Measured {
  std::vector<double> seconds;  // of each repetition: all layers
  double flop = 0;              // of one: 4 * head_dim for each (query head, visible row)
  double bytes = 0;             // of one: pages of K and V that any query sees, read once
};

// Runs the work once on each of n_threads threads, as ComputePool::run does.
using RunOnThreads = std::function<void(const std::function<void(const WorkRange&)>&)>;

Measured measure_attention(const AttentionKernel& kernel, const MeasureShape& shape, int n_threads,
                           int repetitions, const RunOnThreads& run_on_threads);

}  // namespace fastcache::attention
