// SPDX-License-Identifier: Apache-2.0
// What design.md calls batch invariance: the bits of a query's output do not depend on how the prompt was cut
// into chunks, who else is in the batch, or how many threads there are.
#include <gtest/gtest.h>
#include <spdlog/fmt/ranges.h>

#include <bit>

#include "attention/attention_testing.h"
#include "base/log.h"

namespace fastcache::attention {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRounds = 10;  // ten times slower
#else
constexpr int kRounds = 60;
#endif

CaseShape random_shape(std::mt19937_64& random) {
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  const auto maybe = [&](int one_in) { return pick(1, one_in) == 1; };
  CaseShape shape{.name = "random",
                  .head_dim = 16 * pick(1, 9),
                  .n_kv_heads = pick(1, 3),
                  .group = pick(1, 9),
                  .type = static_cast<kv::KvType>(pick(0, kv::kKvTypes - 1)),
                  .old_rows = {},
                  .new_rows = {}};
  const int n_sequences = pick(1, 4);
  for (int s = 0; s < n_sequences; ++s) {
    shape.old_rows.push_back(maybe(3) ? 0 : pick(1, maybe(3) ? 2500 : 300));
    shape.new_rows.push_back(maybe(2) ? 1 : pick(1, 90));
  }
  if (maybe(3)) shape.window = pick(1, 600);
  if (maybe(4)) shape.softcap = 10.0f;
  shape.spans = maybe(3);
  shape.partial_pages = maybe(2);
  shape.uneven_heads = maybe(2);
  shape.sparse_positions = maybe(2);
  shape.deltas = maybe(3);
  shape.extras = maybe(3);
  shape.mixed_types = maybe(4);
  return shape;
}

std::string describe(const CaseShape& shape) {
  return fmt::format("head_dim {}, {} KV heads x {}, {}, window {}, rows {} + {}", shape.head_dim,
                     shape.n_kv_heads, shape.group, kv::kv_type_name(shape.type), shape.window,
                     fmt::join(shape.old_rows, " "), fmt::join(shape.new_rows, " "));
}

// The case as it was when only `rows` of the new rows of each head had been written: tables end there.
struct Truncated {
  std::vector<std::vector<kv::TableEntry>> entries;
  std::vector<kv::HeadRows> heads;

  Truncated(const AttentionSequence& whole, int rows) {
    for (const kv::HeadRows& head : whole.heads) {
      const int n_rows = head.n_rows - whole.n_queries + rows;
      std::vector<kv::TableEntry>& kept = entries.emplace_back();
      for (kv::TableEntry entry : head.entries) {
        if (static_cast<int>(entry.first_row) >= n_rows) break;
        entry.rows_used =
            static_cast<uint16_t>(std::min<int>(entry.rows_used, n_rows - static_cast<int>(entry.first_row)));
        kept.push_back(entry);
      }
      heads.push_back(head);
      heads.back().n_rows = n_rows;
    }
    for (size_t h = 0; h < heads.size(); ++h) heads[h].entries = entries[h];
  }
};

// Runs the case in random chunks, in a random order of sequences, some together and some alone. Spans stay
// whole.
void run_in_pieces(const AttentionKernel& kernel, AttentionCase& of, std::mt19937_64& random) {
  std::deque<Truncated> tables;
  std::deque<std::vector<int32_t>> visible;
  std::vector<AttentionSequence> pieces;
  for (const AttentionSequence& whole : of.views) {
    for (int begin = 0; begin < whole.n_queries;) {
      int end = std::min(whole.n_queries, begin + std::uniform_int_distribution<int>(1, 40)(random));
      if (whole.visible_new != nullptr) {
        for (int i = begin; i < end; ++i) end = std::max(end, whole.visible_new[i]);
      }
      const Truncated& table = tables.emplace_back(whole, end);
      AttentionSequence piece = whole;
      piece.first_query += begin;
      piece.n_queries = end - begin;
      piece.query_positions += begin;
      piece.heads = table.heads;
      if (whole.visible_new != nullptr) {
        auto& seen = visible.emplace_back(whole.visible_new + begin, whole.visible_new + end);
        for (int32_t& n : seen) n -= begin;
        piece.visible_new = seen.data();
      }
      pieces.push_back(piece);
      begin = end;
    }
  }
  std::shuffle(pieces.begin(), pieces.end(), random);
  AttentionWork work(kernel);
  for (size_t first = 0; first < pieces.size();) {
    const size_t n = std::min(pieces.size() - first, std::uniform_int_distribution<size_t>(1, 4)(random));
    const int n_threads = std::uniform_int_distribution<int>(1, 4)(random);
    AttentionBatch batch = of.batch();
    batch.sequences = std::span(pieces).subspan(first, n);
    work.plan(batch, n_threads);
    run_on_threads(work, n_threads);
    first += n;
  }
}

std::string first_difference(const AttentionCase& of, const std::vector<float>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::bit_cast<uint32_t>(expected[i]) == std::bit_cast<uint32_t>(of.out[i])) continue;
    return fmt::format("query {} column {}: {} instead of {}", i / of.stride, i % of.stride, of.out[i],
                       expected[i]);
  }
  return "";
}

TEST(AttentionBits, DoNotDependOnChunksCompanionsOrThreads) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t seed = random();
    std::mt19937_64 pieces(seed);
    AttentionCase made(random_shape(pieces), seed);
    for (const AttentionKernel* kernel : attention_kernels()) {
      std::fill(made.out.begin(), made.out.end(), 0.0f);
      run_attention(*kernel, made.batch(), 1);
      const std::vector<float> expected = made.out;
      for (int n_threads = 2; n_threads <= 4; ++n_threads) {
        std::fill(made.out.begin(), made.out.end(), 0.0f);
        run_attention(*kernel, made.batch(), n_threads);
        ASSERT_EQ(first_difference(made, expected), "") << kernel->name << ", " << made.where << ", "
                                                        << n_threads << " threads: " << describe(made.shape);
      }
      std::fill(made.out.begin(), made.out.end(), 0.0f);
      run_in_pieces(*kernel, made, pieces);
      ASSERT_EQ(first_difference(made, expected), "")
          << kernel->name << ", " << made.where << ", in pieces: " << describe(made.shape);
    }
  }
}

// Rows that a query does not see may hold anything finite: the bits stay.
TEST(AttentionBits, HiddenRowsDoNotMatter) {
  std::mt19937_64 random(test_seed() + 1);
  for (int round = 0; round < kRounds / 3; ++round) {
    const uint64_t seed = random();
    CaseShape shape = random_shape(random);
    shape.old_rows = {200};
    shape.new_rows = {60};
    shape.mixed_types = shape.spans = false;
    AttentionCase made(shape, seed);
    for (const AttentionKernel* kernel : attention_kernels()) {
      AttentionCase other(shape, seed);
      run_attention(*kernel, made.batch(), 1);
      const AttentionSequence& view = other.views[0];
      for (size_t h = 0; h < view.heads.size(); ++h) {  // the last 30 rows become huge
        std::vector<float> huge(static_cast<size_t>(shape.head_dim), h % 2 == 0 ? 1e4f : -1e4f);
        for (const kv::TableEntry& entry : view.heads[h].entries) {
          for (int row = 0; row < entry.rows_used; ++row) {
            if (static_cast<int>(entry.first_row) + row < view.heads[h].n_rows - 30) continue;
            kv::write_row(other.pages.page(entry.page), entry.type, shape.head_dim, row, huge.data(),
                          huge.data());
          }
        }
      }
      run_attention(*kernel, other.batch(), 1);
      const size_t n_seen = 30 * made.stride;  // queries that see none of them
      const std::vector<float> expected(made.out.begin(), made.out.begin() + static_cast<ptrdiff_t>(n_seen));
      for (size_t i = 0; i < n_seen; ++i) {
        if (i % made.stride >= made.stride - 16) continue;
        ASSERT_EQ(std::bit_cast<uint32_t>(other.out[i]), std::bit_cast<uint32_t>(expected[i]))
            << kernel->name << ", " << made.where << ": " << describe(shape);
      }
    }
  }
}

// A plan serves again without planning: its counters re-arm themselves.
TEST(AttentionBits, APlanRunsTwice) {
  AttentionCase made({.name = "twice", .old_rows = {3000}, .new_rows = {1}}, test_seed());
  AttentionWork work(attention_kernel());
  work.plan(made.batch(), 3);
  run_on_threads(work, 3);
  const std::vector<float> expected = made.out;
  for (int i = 0; i < 3; ++i) {
    std::vector<float> out(made.out.size(), std::nanf(""));
    TaskCounter tasks;
    work.run({0, 1, &tasks}, made.q.data(), out.data());
    for (size_t at = 0; at + 16 < out.size(); ++at) ASSERT_EQ(out[at], expected[at]);
  }
}

}  // namespace
}  // namespace fastcache::attention
