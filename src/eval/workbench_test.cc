// SPDX-License-Identifier: Apache-2.0
#include "eval/workbench.h"

#include <gtest/gtest.h>

#include <array>

#include "base/error.h"
#include "engine/testing/loop_model.h"
#include "eval/press_list.h"
#include "eval/text_quality.h"
#include "kv/accounting.h"

namespace fastcache::eval {
namespace {

using engine::test_support::LoopModel;

constexpr int kTokens = 600;

class Bench : public testing::Test {
 protected:
  static void SetUpTestSuite() { loop_ = std::make_unique<LoopModel>(1024); }
  static void TearDownTestSuite() { loop_.reset(); }
  static ModelGives gives() {
    return {.n_layers = loop_->model.hparams.n_layers,
            .output_weights = !loop_->model.family->output_weights().empty()};
  }

  static Workbench make(int chunk_tokens = 128) {
    return {loop_->model,
            loop_->compute,
            {.chunk_tokens = chunk_tokens, .capacity_tokens = 5 * kTokens, .max_sequences = 5}};
  }
  static std::vector<std::vector<int32_t>> rows_of(const kv::Sequence& sequence) {
    std::vector<std::vector<int32_t>> tokens;
    for (int layer = 0; layer < sequence.shape().n_layers; ++layer)
      for (int head = 0; head < sequence.shape().n_kv_heads; ++head) {
        tokens.emplace_back();
        for (int row = 0; row < sequence.rows_held(layer, head); ++row)
          tokens.back().push_back(sequence.row_token(layer, head, row));
      }
    return tokens;
  }
  static Tokens prompt() { return LoopModel::prompt(kTokens, 3); }

 private:
  static inline std::unique_ptr<LoopModel> loop_;
};

TEST_F(Bench, EveryMethodHoldsTheSameBytes) {
  Workbench bench = make();
  const std::vector<Method> methods = choose_methods({}, gives(), 1);
  EXPECT_GT(methods.size(), 10u);
  const Context context = bench.read(prompt(), needs_of(methods));
  for (const double removed : {0.25, 0.5, 0.8}) {
    const size_t target = even_bytes(bench, kTokens, removed);
    for (const Method& method : methods) {
      const Compressed fork = bench.compress_to(context, method.params, removed, target);
      EXPECT_EQ(fork.bytes, resident_bytes(fork.sequence));
      // 4 heads of at most 38 pages: one page more or less is a lot here
      const double off = static_cast<double>(fork.bytes) / static_cast<double>(target);
      EXPECT_LE(off, 1.01) << method.name << " at " << removed << ", ratio " << fork.ratio;
      EXPECT_GE(off, 0.85) << method.name << " at " << removed << ", ratio " << fork.ratio;
      EXPECT_TRUE(is_compressed(fork.sequence)) << method.name;
      EXPECT_EQ(fork.sequence.token_count(), kTokens);
    }
  }
  EXPECT_FALSE(is_compressed(context.sequence));
  kv::check_consistency(bench.pool(), std::array{&context.sequence}, {});
}

// Uneven budgets leave more pages half used: at the nominal ratio they would hold more than the others.
TEST_F(Bench, UnevenBudgetsPayForHalfUsedPages) {
  Workbench bench = make();
  const press::PressParams uneven{.name = "test_uneven", .seed = 4};
  const Context context = bench.read(prompt(), {});
  const size_t target = even_bytes(bench, kTokens, 0.5);
  const Compressed fitted = bench.compress_to(context, uneven, 0.5, target);
  EXPECT_LE(static_cast<double>(fitted.bytes), 1.01 * static_cast<double>(target));
  EXPECT_GE(static_cast<double>(fitted.bytes), 0.95 * static_cast<double>(target));
}

// One prefill for all methods chooses the rows that a prefill for each alone would.
TEST_F(Bench, OneRecordServesAllMethods) {
  Workbench bench = make();
  const std::vector<Method> methods = choose_methods({}, gives(), 1);
  const Context all = bench.read(prompt(), needs_of(methods));
  for (const Method& method : methods) {
    const Context own = bench.read(prompt(), method.needs);
    EXPECT_EQ(rows_of(bench.compress(all, method.params, 0.5).sequence),
              rows_of(bench.compress(own, method.params, 0.5).sequence))
        << method.name;
  }
}

TEST_F(Bench, ChunksDoNotMatter) {
  Workbench small = make(37), large = make(kTokens);
  const std::vector<Method> methods = choose_methods({}, gives(), 1);
  const Context a = small.read(prompt(), needs_of(methods));
  const Context b = large.read(prompt(), needs_of(methods));
  for (const Method& method : methods)
    EXPECT_EQ(rows_of(small.compress(a, method.params, 0.7).sequence),
              rows_of(large.compress(b, method.params, 0.7).sequence))
        << method.name;
}

TEST_F(Bench, WindowKeepsBothEnds) {
  Workbench bench = make();
  const Context context = bench.read(prompt(), {});
  const kv::Sequence window = bench.window(context, 4, 10);
  for (const std::vector<int32_t>& rows : rows_of(window)) {
    ASSERT_EQ(rows.size(), 14u);
    EXPECT_EQ(rows[3], 3);
    EXPECT_EQ(rows[4], kTokens - 10);
    EXPECT_EQ(rows[13], kTokens - 1);
  }
}

TEST_F(Bench, GivesAllPagesBack) {
  Workbench bench = make();
  {
    const Context context = bench.read(prompt(), {});
    const Compressed fork = bench.compress(context, {.name = "knorm"}, 0.5);
    EXPECT_LT(bench.pool().free_pages(), bench.pool().n_pages());
  }
  EXPECT_EQ(bench.pool().free_pages(), bench.pool().n_pages());
}

TEST_F(Bench, APoolThatIsTooSmallIsAnError) {
  Workbench bench = make();
  const Tokens tokens = LoopModel::prompt(1000, 1);
  std::vector<Context> contexts;
  EXPECT_THROW(
      {
        for (int i = 0; i < 10; ++i) contexts.push_back(bench.read(tokens, {}));
      },
      Error);
}

}  // namespace
}  // namespace fastcache::eval
