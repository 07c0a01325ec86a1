// SPDX-License-Identifier: Apache-2.0
// A matmul with a low-rank part beside the formula in double precision, and the promise that rows without a
// hidden vector keep every bit and rows with one do not depend on their companions.
#include "linear/low_rank.h"

#include "linear/linear_test_util.h"

namespace fastcache::linear {
namespace {

constexpr int kRows = 40;

// Weights of three stacked matrices or of gate and up; some of them have a low-rank part.
struct Case {
  PackedMatrix packed;
  int n_in = 0;
  std::vector<int> n_out;                   // of each matrix
  std::vector<std::vector<float>> weights;  // of each matrix, [n_out, n_in]
  std::vector<std::vector<float>> a, b;     // of those with a part
  std::vector<LowRankSource> sources;
};

Case make_case(Random& random, ggml_type type, bool gate_up) {
  Case c;
  c.n_in = 32 * uniform(random, 1, 8);
  if (type == GGML_TYPE_Q4_K) c.n_in = 256;
  std::vector<Weights> weights;
  for (int i = 0; i < (gate_up ? 2 : 3); ++i) {
    c.n_out.push_back(gate_up ? (i == 0 ? 32 * uniform(random, 1, 4) : c.n_out[0]) : uniform(random, 1, 100));
    weights.push_back(quantised_weights(random, type, c.n_out.back(), c.n_in));
  }
  const int left_out = uniform(random, -1, static_cast<int>(weights.size()) - 1);
  std::vector<WeightSource> sources;
  int column = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    sources.push_back(weights[i].source());
    const int rank = uniform(random, 1, 40), n_out = c.n_out[i];
    if (static_cast<int>(i) != left_out) {
      c.a.push_back(normal_vector(random, static_cast<size_t>(rank * c.n_in)));
      c.b.push_back(normal_vector(random, static_cast<size_t>(rank * n_out), 0.1F));
      c.sources.push_back({.first_column = column, .n_out = n_out, .rank = rank, .scale = 0.75F});
    }
    column += n_out;
  }
  for (size_t i = 0; i < c.sources.size(); ++i) {
    c.sources[i].a = c.a[i].data();
    c.sources[i].b = c.b[i].data();
  }
  for (Weights& from : weights) c.weights.push_back(std::move(from.values));
  c.packed = gate_up ? pack_gate_up(sources[0], sources[1]) : pack(sources);
  return c;
}

// What some rows of a batch become.
struct Rows {
  std::vector<float> hidden;          // [n_rows, width]
  std::vector<const float*> pointer;  // [n_rows], null: not adapted
};

Rows reduce_some(const LowRank& low_rank, const Activations& input, int n_rows,
                 const std::vector<bool>& chosen) {
  Rows rows;
  const auto width = static_cast<size_t>(low_rank.hidden_width()),
             n_in = static_cast<size_t>(low_rank.n_in());
  rows.hidden.resize(static_cast<size_t>(n_rows) * width);
  rows.pointer.resize(static_cast<size_t>(n_rows));
  std::vector<float> x(static_cast<size_t>(n_rows) * n_in);
  std::vector<const float*> from;
  std::vector<float*> to;
  for (size_t r = 0; r < static_cast<size_t>(n_rows); ++r) {
    if (!chosen[r]) continue;
    input.get_row(static_cast<int>(r), x.data() + r * n_in);
    from.push_back(x.data() + r * n_in);
    to.push_back(rows.hidden.data() + r * width);
    rows.pointer[r] = to.back();
  }
  low_rank.reduce(from, to);
  return rows;
}

std::vector<float> product(const Case& c, const Activations& input, int n_rows, const LowRank* low_rank,
                           const Rows& rows, int n_threads) {
  const auto n_out = static_cast<size_t>(c.packed.n_out());
  std::vector<float> out(static_cast<size_t>(n_rows) * n_out, NAN);
  MatmulArgs args;
  args.weights = &c.packed;
  args.input = &input;
  args.n_rows = n_rows;
  args.out = out.data();
  args.out_stride = n_out;
  args.low_rank = low_rank;
  args.hidden = rows.pointer.data();
  run_matmul(kernels(), args, n_threads);
  return out;
}

// scale * B (A x), of one row and one column of the stack.
double expected_part(const Case& c, const std::vector<float>& x, int column) {
  for (const LowRankSource& s : c.sources) {
    if (column < s.first_column || column >= s.first_column + s.n_out) continue;
    double sum = 0;
    for (int k = 0; k < s.rank; ++k) {
      double hidden = 0;
      for (int i = 0; i < c.n_in; ++i) hidden += double{s.a[k * c.n_in + i]} * x[static_cast<size_t>(i)];
      sum += hidden * s.b[(column - s.first_column) * s.rank + k];
    }
    return s.scale * sum;
  }
  return 0;
}

std::vector<bool> random_choice(Random& random, int n) {
  std::vector<bool> chosen(static_cast<size_t>(n));
  const int of = uniform(random, 1, 6);
  for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = uniform(random, 0, of) > 0;
  return chosen;
}

constexpr ggml_type kTypes[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q4_1, GGML_TYPE_Q4_K};

TEST(LowRank, AddsItsProductToTheChosenRowsAlone) {
  Random random(test_seed());
  for (const ggml_type type : kTypes) {
    const Case c = make_case(random, type, false);
    const LowRank low_rank(c.n_in, c.sources);
    const auto x = normal_vector(random, static_cast<size_t>(kRows * c.n_in));
    const Activations input = filled(kernels(), c.packed, x, kRows);
    const std::vector<bool> chosen = random_choice(random, kRows);
    const Rows rows = reduce_some(low_rank, input, kRows, chosen);
    const auto plain = product(c, input, kRows, nullptr, rows, 1);
    const auto adapted = product(c, input, kRows, &low_rank, rows, 2);
    std::vector<float> seen(static_cast<size_t>(c.n_in));
    for (int r = 0; r < kRows; ++r) {
      input.get_row(r, seen.data());
      for (int column = 0; column < c.packed.n_out(); ++column) {
        const auto at = static_cast<size_t>(r * c.packed.n_out() + column);
        const double expected =
            plain[at] + (chosen[static_cast<size_t>(r)] ? expected_part(c, seen, column) : 0.0);
        ASSERT_NEAR(adapted[at], expected, 1e-3)
            << ggml_type_name(type) << " row " << r << " column " << column << " seed " << test_seed();
        if (!chosen[static_cast<size_t>(r)]) {
          ASSERT_TRUE(same_bits({&adapted[at], 1}, {&plain[at], 1})) << test_seed();
        }
      }
    }
  }
}

// Each row alone, then all together in another order.
TEST(LowRank, RowsDoNotDependOnCompanionsPlacesOrThreads) {
  Random random(test_seed());
  for (const ggml_type type : kTypes) {
    const Case c = make_case(random, type, false);
    const LowRank low_rank(c.n_in, c.sources);
    const auto n_in = static_cast<size_t>(c.n_in), n_out = static_cast<size_t>(c.packed.n_out());
    const auto x = normal_vector(random, kRows * n_in);
    const Activations input = filled(kernels(), c.packed, x, kRows);
    const std::vector<bool> chosen = random_choice(random, kRows);
    const auto together = product(c, input, kRows, &low_rank, reduce_some(low_rank, input, kRows, chosen),
                                  uniform(random, 1, 4));
    for (size_t r = 0; r < kRows; ++r) {
      const std::vector<float> row(x.begin() + static_cast<ptrdiff_t>(r * n_in),
                                   x.begin() + static_cast<ptrdiff_t>((r + 1) * n_in));
      const Activations one = filled(kernels(), c.packed, row, 1);
      const auto alone = product(c, one, 1, &low_rank, reduce_some(low_rank, one, 1, {chosen[r]}), 1);
      ASSERT_TRUE(same_bits(alone, {together.data() + r * n_out, n_out}))
          << ggml_type_name(type) << " row " << r << " seed " << test_seed();
    }
  }
}

TEST(LowRank, GatesSeeItBeforeTheyOpen) {
  Random random(test_seed());
  for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_Q4_1}) {
    const Case c = make_case(random, type, true);
    const LowRank low_rank(c.n_in, c.sources);
    const auto x = normal_vector(random, static_cast<size_t>(kRows * c.n_in));
    const Activations input = filled(kernels(), c.packed, x, kRows);
    const std::vector<bool> chosen = random_choice(random, kRows);
    const Rows rows = reduce_some(low_rank, input, kRows, chosen);
    const int width = c.n_out[0];
    const auto gated = [&](const LowRank* part) {
      Activations out;
      out.reserve(kRows, width, {.f32 = true});
      MatmulArgs args;
      args.weights = &c.packed;
      args.input = &input;
      args.n_rows = kRows;
      args.epilogue = Epilogue::silu_mul;
      args.out_activations = &out;
      args.low_rank = part;
      args.hidden = rows.pointer.data();
      run_matmul(kernels(), args, 2);
      std::vector<float> all(static_cast<size_t>(kRows * width));
      for (int r = 0; r < kRows; ++r) out.get_row(r, all.data() + r * width);
      return all;
    };
    const auto plain = gated(nullptr), adapted = gated(&low_rank);
    std::vector<float> seen(static_cast<size_t>(c.n_in));
    for (int r = 0; r < kRows; ++r) {
      const auto first = static_cast<size_t>(r * width);
      if (!chosen[static_cast<size_t>(r)]) {
        ASSERT_TRUE(same_bits({&plain[first], static_cast<size_t>(width)},
                              {&adapted[first], static_cast<size_t>(width)}))
            << test_seed();
        continue;
      }
      input.get_row(r, seen.data());
      for (int i = 0; i < width; ++i) {
        double gate = expected_part(c, seen, i), up = expected_part(c, seen, width + i);
        for (int k = 0; k < c.n_in; ++k) {
          gate += double{c.weights[0][static_cast<size_t>(i * c.n_in + k)]} * seen[static_cast<size_t>(k)];
          up += double{c.weights[1][static_cast<size_t>(i * c.n_in + k)]} * seen[static_cast<size_t>(k)];
        }
        ASSERT_NEAR(adapted[first + static_cast<size_t>(i)], gate / (1 + std::exp(-gate)) * up, 2e-3)
            << ggml_type_name(type) << " row " << r << " channel " << i << " seed " << test_seed();
      }
    }
  }
}

}  // namespace
}  // namespace fastcache::linear
