// SPDX-License-Identifier: Apache-2.0
// Every kernel of this CPU x every page type x a table of shapes, against plain loops in double precision.
#include "attention/attention.h"

#include <gtest/gtest.h>

#include "attention/attention_reference.h"
#include "attention/attention_testing.h"
#include "base/error.h"
#include "base/log.h"

namespace fastcache::attention {
namespace {

std::vector<CaseShape> shapes() {
  return {
      {.name = "decode", .old_rows = {0, 1, 63, 64, 300}, .new_rows = {1, 1, 1, 1, 1}},
      {.name = "decode over splits", .n_kv_heads = 1, .old_rows = {2100}, .new_rows = {1}},
      {.name = "prefill", .old_rows = {0}, .new_rows = {131}},
      {.name = "prefill at depth", .n_kv_heads = 1, .old_rows = {700}, .new_rows = {70}},
      {.name = "mixed ragged", .old_rows = {0, 37, 600, 5}, .new_rows = {33, 1, 2, 17}},
      {.name = "head_dim 16", .head_dim = 16, .old_rows = {90, 3}, .new_rows = {5, 40}},
      {.name = "head_dim 80", .head_dim = 80, .group = 1, .old_rows = {90, 3}, .new_rows = {5, 40}},
      {.name = "head_dim 96, group 8", .head_dim = 96, .group = 8, .old_rows = {90, 3}, .new_rows = {5, 21}},
      {.name = "head_dim 128", .head_dim = 128, .group = 4, .old_rows = {200, 0}, .new_rows = {1, 30}},
      {.name = "head_dim 256, group 7", .head_dim = 256, .group = 7, .old_rows = {70}, .new_rows = {9}},
      {.name = "head_dim 1024",
       .head_dim = 1024,
       .n_kv_heads = 1,
       .group = 2,
       .old_rows = {70},
       .new_rows = {4}},
      {.name = "one KV head, 71 query heads",
       .n_kv_heads = 1,
       .group = 71,
       .old_rows = {150},
       .new_rows = {2}},
      {.name = "window", .old_rows = {800, 20}, .new_rows = {50, 70}, .window = 40},
      {.name = "window, explicit positions",
       .old_rows = {400, 20},
       .new_rows = {50, 70},
       .window = 150,
       .uneven_heads = true,
       .sparse_positions = true},
      {.name = "softcap", .old_rows = {100}, .new_rows = {20}, .softcap = 5.0f},
      {.name = "spans", .old_rows = {100, 0}, .new_rows = {40, 90}, .spans = true},
      {.name = "partial pages",
       .old_rows = {300, 40},
       .new_rows = {1, 60},
       .partial_pages = true,
       .uneven_heads = true,
       .sparse_positions = true},
      {.name = "deltas", .old_rows = {300}, .new_rows = {20}, .partial_pages = true, .deltas = true},
      {.name = "deltas, halves",
       .head_dim = 80,
       .old_rows = {200},
       .new_rows = {1},
       .deltas = true,
       .rope_style = RopeStyle::halves},
      {.name = "extras", .old_rows = {300, 9}, .new_rows = {7, 40}, .extras = true},
      {.name = "mixed types", .old_rows = {500}, .new_rows = {30}, .mixed_types = true},
      {.name = "everything",
       .head_dim = 48,
       .n_kv_heads = 3,
       .group = 5,
       .old_rows = {500, 0, 1300},
       .new_rows = {30, 44, 2},
       .window = 700,
       .softcap = 20.0f,
       .spans = true,
       .partial_pages = true,
       .uneven_heads = true,
       .sparse_positions = true,
       .deltas = true,
       .extras = true,
       .mixed_types = true},
  };
}

// How exactly a kernel keeps q and the weights. Sums are in f32 everywhere.
struct Precision {
  double q_relative = 0;  // rounding of each channel of q
  double q_absolute = 0;  // the same relative to q's largest channel
  double weight = 0;      // rounding of a weight
};

Precision precision(const AttentionKernel& kernel, const CaseShape& shape) {
  Precision p{
      .q_relative = std::ldexp(1.0, -22), .q_absolute = std::ldexp(1.0, -23), .weight = std::ldexp(1.0, -21)};
  const bool exact = kernel.isa != Isa::avx512 || (shape.type == kv::KvType::f32 && !shape.mixed_types);
  if (exact) return p;
  p.weight = std::ldexp(1.0, -8);
  // Each weight of 64 rows is off by 2^-17 of the group's largest at most.
  if (shape.type == kv::KvType::int8 && !shape.mixed_types) p.weight = std::ldexp(1.0, -11);
  if (shape.type != kv::KvType::int8 || shape.mixed_types) p.q_relative = std::ldexp(1.0, -9);
  if (shape.type == kv::KvType::int8 || shape.mixed_types) p.q_absolute = 1.0 / (127 * 254);
  return p;
}

// If all scores were off by e, the same way for rows with a high v, the output would move by 2 e times the
// largest v. They are off independently of each other, and seldom by twice what is expected.
double tolerance(const Precision& p, const ReferenceRow& row) {
  const double score_error = p.q_relative * row.score_noise + p.q_absolute * row.query_norm + 1e-6;
  return row.largest_v * (2 * score_error + p.weight) + 1e-6;
}

// [queries of all, n_heads]
std::vector<ReferenceRow> reference(AttentionCase& of) {
  std::vector<ReferenceRow> rows;
  for (size_t s = 0; s < of.views.size(); ++s) {
    for (int query = 0; query < of.views[s].n_queries; ++query) {
      for (int head = 0; head < of.n_heads(); ++head) rows.push_back(reference_row(of, s, query, head));
    }
  }
  return rows;
}

void compare(const AttentionCase& of, const std::vector<ReferenceRow>& rows, const AttentionKernel& kernel) {
  const Precision p = precision(kernel, of.shape);
  const size_t n_heads = static_cast<size_t>(of.n_heads());
  const size_t head_dim = static_cast<size_t>(of.shape.head_dim);
  double worst = 0;
  std::string where = "nowhere";
  for (size_t i = 0; i < rows.size(); ++i) {
    const float* got = of.out.data() + i / n_heads * of.stride + i % n_heads * head_dim;
    const double allowed = tolerance(p, rows[i]);
    for (size_t c = 0; c < head_dim; ++c) {
      double error = std::abs(got[c] - rows[i].out[c]) / allowed;
      if (!(error < 1e30)) error = 1e30;  // NaN
      if (error <= worst) continue;
      worst = error;
      where = fmt::format("query {} head {} channel {}: {} instead of {}, tolerance {}", i / n_heads,
                          i % n_heads, c, got[c], rows[i].out[c], allowed);
    }
  }
  EXPECT_LE(worst, 1.0) << kernel.name << ", " << kv::kv_type_name(of.shape.type) << ", " << of.where << ": "
                        << where;
}

TEST(Attention, AgreesWithPlainLoops) {
  uint64_t seed = test_seed();
  for (CaseShape shape : shapes()) {
    for (int type = 0; type < kv::kKvTypes; ++type) {
      shape.type = static_cast<kv::KvType>(type);
      AttentionCase made(shape, ++seed);
      const std::vector<ReferenceRow> expected = reference(made);
      for (const AttentionKernel* kernel : attention_kernels()) {
        std::fill(made.out.begin(), made.out.end(), std::nanf(""));
        run_attention(*kernel, made.batch(), 2);
        compare(made, expected, *kernel);
      }
    }
  }
}

TEST(Attention, WritesOnlyItsColumns) {
  AttentionCase made({.name = "columns", .old_rows = {70}, .new_rows = {10}}, test_seed());
  run_attention(attention_kernel(), made.batch(), 1);
  const size_t used = static_cast<size_t>(made.shape.n_kv_heads * made.shape.group * made.shape.head_dim);
  for (size_t i = 0; i < made.out.size(); ++i)
    EXPECT_EQ(std::isnan(made.out[i]), i % made.stride >= used) << i;
}

// Such rows cannot happen, but must not make NaN. Freed pages may be garbage, and stay in the table with no
// rows.
TEST(Attention, NoVisibleRowGivesZeroAndFreedPagesAreNotRead) {
  for (kv::KvType type : {kv::KvType::f32, kv::KvType::bf16, kv::KvType::int8}) {
    for (const AttentionKernel* kernel : attention_kernels()) {
      AttentionCase made({.name = "none", .n_kv_heads = 1, .type = type, .old_rows = {0}, .new_rows = {3}},
                         test_seed());
      std::vector<int32_t> visible{0, 1, 0};
      made.views[0].visible_new = visible.data();
      std::vector<kv::TableEntry> entries(kSplitEntries + 3, kv::TableEntry{.page = 3, .type = type});
      entries.back() = made.sequences[0].entries[0][0];
      std::fill_n(made.pages.page(3).payload, made.pages.payload_bytes, std::byte{0xff});
      made.sequences[0].heads[0].entries = entries;
      run_attention(*kernel, made.batch(), 2);
      for (size_t row : {size_t{0}, size_t{2}}) EXPECT_EQ(made.out[row * made.stride], 0.0f) << kernel->name;
      EXPECT_TRUE(std::isfinite(made.out[made.stride])) << kernel->name;
    }
  }
}

TEST(Attention, RefusesShapesThatNoKernelTakes) {
  AttentionWork work;
  AttentionCase made({.name = "refused"}, test_seed());
  for (int head_dim : {0, 8, 72, 2048}) {
    AttentionBatch batch = made.batch();
    batch.shape.head_dim = head_dim;
    EXPECT_THROW(work.plan(batch, 1), Error) << head_dim;
  }
  AttentionBatch batch = made.batch();
  batch.shape.n_heads = 5;
  EXPECT_THROW(work.plan(batch, 1), Error);
}

}  // namespace
}  // namespace fastcache::attention
