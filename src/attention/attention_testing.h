// SPDX-License-Identifier: Apache-2.0
// For tests: random paged heads and queries, and attention over them in plain loops in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "attention/attention.h"
#include "attention/attention_kernel.h"
#include "kv/quantized_page.h"

namespace fastcache::attention {

inline uint64_t test_seed() {
  const char* given = std::getenv("FASTCACHE_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 1234;
}

// What a random case is made from. Everything else follows from the seed.
struct CaseShape {
  std::string name;
  int head_dim = 64;
  int n_kv_heads = 2;
  int group = 3;
  kv::KvType type = kv::KvType::bf16;
  std::vector<int> old_rows = {0};  // of each sequence, before this step
  std::vector<int> new_rows = {1};  // of each sequence: its queries
  int window = 0;
  float softcap = 0.0f;
  bool spans = false;             // some queries see later new rows
  bool partial_pages = false;     // interior pages that are not full
  bool uneven_heads = false;      // heads hold different numbers of old rows
  bool sparse_positions = false;  // explicit row_positions
  bool deltas = false;
  bool extras = false;
  bool mixed_types = false;
  RopeStyle rope_style = RopeStyle::adjacent;
};

// Owns all that an AttentionBatch points to. Memory of pages that nobody owns is NaN.
class AttentionCase {
 public:
  AttentionCase(const CaseShape& from, uint64_t seed);
  AttentionCase(const AttentionCase&) = delete;
  AttentionCase& operator=(const AttentionCase&) = delete;

  struct Sequence {
    std::vector<std::vector<kv::TableEntry>> entries;  // [n_kv_heads]
    std::vector<std::vector<int32_t>> positions;       // [n_kv_heads][n_rows]
    std::vector<kv::HeadRows> heads;
    std::vector<int32_t> query_positions, visible_new;
  };

  AttentionBatch batch() {
    return {.shape = {.n_heads = shape.n_kv_heads * shape.group,
                      .n_kv_heads = shape.n_kv_heads,
                      .head_dim = shape.head_dim,
                      .scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim)),
                      .softcap = shape.softcap,
                      .window = shape.window,
                      .rope = &rope},
            .pages = pages,
            .sequences = views,
            .q = q.data(),
            .q_stride = stride,
            .out = out.data(),
            .out_stride = stride};
  }
  int n_heads() const { return shape.n_kv_heads * shape.group; }
  float uniform() { return std::uniform_real_distribution<float>(0, 1)(random_); }
  float normal() { return std::normal_distribution<float>()(random_); }
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  CaseShape shape;
  std::string where;
  RopeTable rope;
  kv::PageMemory pages;
  std::deque<Sequence> sequences;
  std::vector<AttentionSequence> views;
  std::vector<float> q, out;  // [queries, stride]
  size_t stride = 0;

 private:
  kv::PageId take_page();
  void add_sequence(int old_rows, int new_rows);
  void add_entry(std::vector<kv::TableEntry>& entries, int first_row, bool old);
  void add_rows(std::vector<kv::TableEntry>& entries, int n_rows, bool old);
  void quantize(const kv::TableEntry& entry, std::vector<float>& k, std::vector<float>& v);
  kv::RowExtras* random_extras(int n_rows);

  std::mt19937_64 random_;
  std::vector<float> payload_, side_;
  std::vector<kv::PageId> free_;
  std::deque<kv::RowExtras> extras_;
  std::deque<std::vector<float>> extra_values_;
};

inline AttentionCase::AttentionCase(const CaseShape& from, uint64_t seed)
    : shape(from), where(from.name + ", seed " + std::to_string(seed)), random_(seed) {
  rope = make_rope_table(shape.rope_style, shape.head_dim, 10000);
  const int rows = std::accumulate(shape.old_rows.begin(), shape.old_rows.end(), 0) +
                   std::accumulate(shape.new_rows.begin(), shape.new_rows.end(), 0);
  const size_t n_pages = static_cast<size_t>(shape.n_kv_heads) * static_cast<size_t>(rows + 1);
  const size_t page_floats = kv::page_payload_bytes(shape.head_dim) / sizeof(float);
  payload_.assign(n_pages * page_floats + 16, std::nanf(""));
  side_.assign(n_pages * 64, std::nanf(""));
  void* aligned = payload_.data();
  size_t space = payload_.size() * sizeof(float);
  std::align(64, n_pages * page_floats * sizeof(float), aligned, space);
  pages = {.payload = static_cast<std::byte*>(aligned),
           .side = reinterpret_cast<std::byte*>(side_.data()),
           .payload_bytes = kv::page_payload_bytes(shape.head_dim),
           .side_bytes = 64 * sizeof(float)};
  free_.resize(n_pages);
  std::iota(free_.begin(), free_.end(), kv::PageId{0});
  std::shuffle(free_.begin(), free_.end(), random_);
  stride = static_cast<size_t>(shape.n_kv_heads * shape.group * shape.head_dim + 16);
  for (size_t s = 0; s < shape.old_rows.size(); ++s) add_sequence(shape.old_rows[s], shape.new_rows[s]);
  const int n_queries = std::accumulate(shape.new_rows.begin(), shape.new_rows.end(), 0);
  for (size_t i = 0; i < static_cast<size_t>(n_queries) * stride; ++i) q.push_back(2 * normal());
  out.assign(q.size(), std::nanf(""));
}

inline kv::PageId AttentionCase::take_page() {
  const kv::PageId id = free_.back();
  free_.pop_back();
  std::fill_n(pages.page(id).payload, pages.payload_bytes, std::byte{0});
  std::fill_n(pages.page(id).side, 64, 0.0f);
  return id;
}

inline kv::RowExtras* AttentionCase::random_extras(int n_rows) {
  const auto values = [&](float low, float high) {
    auto& made = extra_values_.emplace_back(static_cast<size_t>(n_rows));
    for (float& x : made) x = low + (high - low) * uniform();
    return made.data();
  };
  kv::RowExtras& made = extras_.emplace_back();
  if (integer(0, 3) != 0) made.k_factor = values(0.5f, 1.5f);
  if (integer(0, 3) != 0) made.v_factor = values(0.5f, 2.0f);
  if (integer(0, 3) != 0) made.bias = values(-1.0f, 3.0f);
  return &made;
}

inline void AttentionCase::add_entry(std::vector<kv::TableEntry>& entries, int first_row, bool old) {
  kv::TableEntry entry{
      .page = take_page(), .first_row = static_cast<uint32_t>(first_row), .type = shape.type};
  if (!old && kv::is_quantized(shape.type)) entry.type = kv::KvType::bf16;
  if (old && shape.mixed_types) entry.type = static_cast<kv::KvType>(integer(0, kv::kKvTypes - 1));
  if (old && shape.deltas && integer(0, 2) == 0) entry.position_delta = integer(-40, 40);
  if (old && shape.deltas && !entries.empty() && integer(0, 2) == 0)
    entry.position_delta = entries.back().position_delta;
  if (shape.extras && integer(0, 2) == 0)
    entry.extras = random_extras(kv::rows_per_page(entry.type, shape.head_dim));
  entries.push_back(entry);
}

inline void AttentionCase::quantize(const kv::TableEntry& entry, std::vector<float>& k,
                                    std::vector<float>& v) {
  kv::quantize_page(pages.page(entry.page), entry.type, shape.head_dim, entry.rows_used, k.data(), v.data());
  k.clear();
  v.clear();
}

inline void AttentionCase::add_rows(std::vector<kv::TableEntry>& entries, int n_rows, bool old) {
  int row = entries.empty() ? 0 : static_cast<int>(entries.back().first_row) + entries.back().rows_used;
  bool tail_full = entries.empty() || (!old && shape.deltas) ||  // rows of one page share a delta
                   kv::is_quantized(entries.back().type);
  std::vector<float> k(static_cast<size_t>(shape.head_dim)), v(k.size());
  std::vector<float> page_k, page_v;  // of a quantised page, which is written as a whole
  for (int i = 0; i < n_rows; ++i, ++row) {
    if (tail_full || entries.back().rows_used == kv::rows_per_page(entries.back().type, shape.head_dim)) {
      if (!page_k.empty()) quantize(entries.back(), page_k, page_v);
      add_entry(entries, row, old);
    }
    kv::TableEntry& tail = entries.back();
    for (float& x : k) x = normal();
    for (float& x : v) x = normal();
    if (kv::is_quantized(tail.type)) {
      page_k.insert(page_k.end(), k.begin(), k.end());
      page_v.insert(page_v.end(), v.begin(), v.end());
    } else {
      kv::write_row(pages.page(tail.page), tail.type, shape.head_dim, tail.rows_used, k.data(), v.data());
    }
    ++tail.rows_used;
    tail_full = old && shape.partial_pages && integer(0, 11) == 0;
  }
  if (!page_k.empty()) quantize(entries.back(), page_k, page_v);
}

inline void AttentionCase::add_sequence(int old_rows, int new_rows) {
  Sequence& sequence = sequences.emplace_back();
  const size_t n_heads = static_cast<size_t>(shape.n_kv_heads);
  sequence.entries.resize(n_heads);
  sequence.positions.resize(n_heads);
  for (size_t h = 0; h < n_heads; ++h) {
    const int kept = shape.uneven_heads ? integer(0, old_rows) : old_rows;
    auto& positions = sequence.positions[h];
    if (shape.sparse_positions) {  // `kept` of the old positions, in order
      std::vector<int32_t> all(static_cast<size_t>(old_rows) * 2);
      std::iota(all.begin(), all.end(), 0);
      std::sample(all.begin(), all.end(), std::back_inserter(positions), kept, random_);
    } else {
      for (int i = 0; i < kept; ++i) positions.push_back(old_rows - kept + i);
    }
    const int first_new = shape.sparse_positions ? 2 * old_rows : old_rows;
    for (int i = 0; i < new_rows; ++i) positions.push_back(first_new + i);
    add_rows(sequence.entries[h], kept, true);
    add_rows(sequence.entries[h], new_rows, false);
    sequence.heads.push_back({.entries = sequence.entries[h],
                              .n_rows = kept + new_rows,
                              .row_positions = shape.sparse_positions ? positions.data() : nullptr,
                              .first_position = positions[0]});
  }
  for (int i = 0; i < new_rows; ++i) {
    sequence.query_positions.push_back((shape.sparse_positions ? 2 * old_rows : old_rows) + i);
    sequence.visible_new.push_back(shape.spans ? std::max(i + 1, std::min(new_rows, (i / 7 + 1) * 7))
                                               : i + 1);
  }
  const int first_query = views.empty() ? 0 : views.back().first_query + views.back().n_queries;
  views.push_back({.first_query = first_query,
                   .n_queries = new_rows,
                   .query_positions = sequence.query_positions.data(),
                   .visible_new = shape.spans ? sequence.visible_new.data() : nullptr,
                   .heads = sequence.heads});
}

inline void run_on_threads(AttentionWork& work, int n_threads) {
  TaskCounter tasks;
  std::vector<std::thread> threads;
  for (int t = 1; t < n_threads; ++t) threads.emplace_back([&, t] { work.run({t, n_threads, &tasks}); });
  work.run({0, n_threads, &tasks});
  for (std::thread& thread : threads) thread.join();
}

inline void run_attention(const AttentionKernel& kernel, const AttentionBatch& batch, int n_threads) {
  AttentionWork work(kernel);
  work.plan(batch, n_threads);
  run_on_threads(work, n_threads);
}

}  // namespace fastcache::attention
