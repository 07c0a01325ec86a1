// SPDX-License-Identifier: Apache-2.0
// What an instruction set implements of attention: one step of online softmax, a few query rows against up to
// 64 cache rows. Everything else (splits, masks, deltas, merging) is in attention_tile.cc and the same for
// all.
//
// What a query's bits may depend on: its own values, its visible rows and their place in pages. So a kernel
// sums over channels and over cache rows in a fixed order, whatever n_rows or n_entries are, and a hidden row
// adds exactly 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "attention/attention.h"
#include "base/cpu_features.h"
#include "kv/page_layout.h"

namespace fastcache::attention {

constexpr int kBlockRows =
    6;                      // query rows per step: 6 x 4 accumulators of 16 lanes fill the AVX-512 registers
constexpr int kLanes = 16;  // partial sums of the weights, one per lane of the widest vector
constexpr int kMaxGroupEntries = 8;
constexpr int kMaxHeadDim = 1024;
constexpr float kNoScore = -1e30f;   // running maximum before the first visible row; finite, so no inf - inf
constexpr float kRaiseAbove = 8.0f;  // the running maximum follows only when passed by this much (powers of
                                     // two): weights stay below 2^8, and rescaling becomes rare

// Consecutive table entries of one type and one position_delta. Slot s is row s % rows_per_page of page
// s / rows_per_page; of a quantised page row first_row + s.
struct CacheGroup {
  int head_dim = 0;
  int n_entries = 0;
  const std::byte* pages[kMaxGroupEntries] = {};  // payloads
  const std::byte* next[kMaxGroupEntries] =
      {};                           // what to prefetch; the pages themselves where there is nothing
  const float* k_factor = nullptr;  // [kGroupRows] each, or null
  const float* v_factor = nullptr;
  const float* bias = nullptr;      // times log2(e)
  int first_row = 0;                // quantised pages: where in the page the group begins, and
  const float* v_offset = nullptr;  // [kGroupRows]: V = v_factor * (code - centre) + v_offset
  float softcap = 0.0f;             // times log2(e); 0 = none. Then q holds 2/softcap as well
};

// Query rows as the kernel packed them, and their state. Scores are in powers of two: q is scaled by log2(e).
struct QueryBlock {
  int n_rows = 0;                     // 1 .. kBlockRows
  int n_entries = 0;                  // pages of the group that at least one of the rows sees
  int n_slots = kGroupRows;           // slots, ditto
  const void* q = nullptr;            // from pack()
  const uint64_t* visible = nullptr;  // [n_rows] bit s = slot s; null = all kGroupRows
  float* max = nullptr;               // [n_rows], kNoScore at first
  float* lane_sum = nullptr;          // [n_rows, kLanes], 0 at first
  float* acc = nullptr;               // [n_rows, head_dim], 0 at first
};

struct AttentionKernel {
  const char* name;
  Isa isa;
  // rows: [n_rows, head_dim], scaled. packed: packed_bytes() for each row of the block, 64-byte aligned.
  void (*pack[kv::kKvTypes])(const float* rows, int n_rows, int head_dim,
                             void* packed) noexcept;                                      // by KvType
  void (*step[kv::kKvTypes])(const CacheGroup& group, const QueryBlock& block) noexcept;  // by KvType
  // total = total * total_factor + part * part_factor
  void (*fold)(float* total, float total_factor, const float* part, float part_factor, int n) noexcept;
};

constexpr size_t packed_bytes(int head_dim) { return sizeof(float) * static_cast<size_t>(head_dim) + 128; }

extern const AttentionKernel kAttentionCpu;
// The portable way over quantised pages, which serves kernels that have none of their own; q as it is.
void pack_plain(const float* rows, int n_rows, int head_dim, void* packed) noexcept;
template <kv::KvType type>
void step_quantized(const CacheGroup& group, const QueryBlock& block) noexcept;  // q8, q4, q2
#if defined(__x86_64__)
extern const AttentionKernel kAttentionCpuAvx2;
extern const AttentionKernel kAttentionCpuAvx512;
// What the AVX-512 kernel takes over.
void pack_f32_avx2(const float* rows, int n_rows, int head_dim, void* packed) noexcept;
void step_f32_avx2(const CacheGroup& group, const QueryBlock& block) noexcept;
void fold_avx2(float* total, float total_factor, const float* part, float part_factor, int n) noexcept;
#endif

std::span<const AttentionKernel* const> attention_kernels();  // those this CPU supports, best first
const AttentionKernel& attention_kernel();  // the one of selected_isa(); throws Error as that does

}  // namespace fastcache::attention
