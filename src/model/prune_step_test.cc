// SPDX-License-Identifier: Apache-2.0
// Tokens that end behind a layer: the layers behind hold no rows of them and nothing of the rest changes. The
// oracle needs no pruner: K and V behind the layer depend on the layers up to it alone, so the rows of a
// whole prompt, some of them removed, and then the last token by itself must give the same bits.
#include "model/prune_step.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/error.h"
#include "kv/accounting.h"
#include "kv/test_rows.h"
#include "model/runner.h"
#include "model/testing/evaluate.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

// As FastV: of tokens [first, end) the half that gets least attention of the last token ends behind the
// layer.
class HalfOfASpan final : public TokenPruner {
 public:
  HalfOfASpan(int layer, int first, int end) : layer_(layer), first_(first), end_(end) {}
  int after_layer() const override { return layer_; }
  std::vector<int32_t> keep(std::span<const float> attention) const override {
    std::vector<int32_t> span(static_cast<size_t>(end_ - first_)), kept;
    std::iota(span.begin(), span.end(), first_);
    std::stable_sort(span.begin(), span.end(), [&](int a, int b) { return attention[a] > attention[b]; });
    span.resize(span.size() / 2);
    for (int i = 0; i < static_cast<int>(attention.size()); ++i) {
      const bool in_span = i >= first_ && i < end_;
      if (!in_span || std::find(span.begin(), span.end(), i) != span.end()) kept.push_back(i);
    }
    seen = {attention.begin(), attention.end()};
    chosen = kept;
    return kept;
  }
  mutable std::vector<float> seen;
  mutable std::vector<int32_t> chosen;

 private:
  int layer_, first_, end_;
};

class PruneStep : public testing::Test {
 protected:
  PruneStep() {
    test_support::write_tiny_model(folder_.file("tiny.gguf"), {.n_layers = 3, .seed = 3});
    model_ = std::make_unique<test_support::TestModel>(folder_.file("tiny.gguf"));
    pool_ = std::make_unique<kv::PagePool>(
        kv::PoolOptions{.head_dim = 16, .bytes = size_t{4} << 20, .types = {kv::KvType::bf16}});
    runner_ = std::make_unique<Runner>(model_->hparams, *model_->family, *pool_, model_->compute);
  }

  kv::Sequence empty() const { return {*pool_, cache_shape(model_->hparams, kv::KvType::bf16)}; }

  static std::vector<int32_t> tokens(int n, uint32_t seed = 1) {
    std::mt19937 random(seed);
    std::vector<int32_t> made(static_cast<size_t>(n));
    for (int32_t& id : made) id = 3 + static_cast<int32_t>(random() % 300);
    return made;
  }

  // The logits behind the last token.
  std::vector<float> feed(kv::Sequence& sequence, std::span<const int32_t> ids,
                          const TokenPruner* pruner = nullptr) {
    EXPECT_TRUE(sequence.append_text(ids));
    const int32_t last = static_cast<int32_t>(ids.size()) - 1;
    const StepSequence step{
        .sequence = &sequence, .n_new = last + 1, .logit_rows = std::span(&last, 1), .pruner = pruner};
    const std::span<const float> logits = runner_->run(std::span(&step, 1));
    return {logits.begin(), logits.end()};
  }

  test_support::TemporaryFolder folder_;
  std::unique_ptr<test_support::TestModel> model_;
  std::unique_ptr<kv::PagePool> pool_;
  std::unique_ptr<Runner> runner_;
};

TEST_F(PruneStep, TheSameBitsAsWithoutTheDroppedRows) {
  for (const auto& [n, first, end] : {std::tuple{100, 20, 80}, {17, 0, 16}, {40, 5, 6}, {200, 16, 48}}) {
    const std::vector<int32_t> text = tokens(n);
    kv::Sequence pruned = empty();
    const HalfOfASpan half(1, first, end);  // behind it one layer
    const std::vector<float> logits = feed(pruned, text, &half);

    kv::Sequence by_hand = empty();
    feed(by_hand, std::span(text).first(text.size() - 1));
    std::vector<int32_t> rows(half.chosen.begin(), half.chosen.end() - 1);
    for (int head = 0; head < 2; ++head) ASSERT_TRUE(by_hand.keep_rows(2, head, rows));
    EXPECT_EQ(feed(by_hand, std::span(text).last(1)), logits) << n;

    for (int layer = 0; layer < 3; ++layer)
      for (int head = 0; head < 2; ++head) {
        ASSERT_EQ(pruned.rows_held(layer, head), by_hand.rows_held(layer, head));
        EXPECT_EQ(pruned.rows_held(layer, head), layer < 2 ? n : n - (end - first - (end - first) / 2));
        for (int row = 0; row < pruned.rows_held(layer, head); ++row) {
          EXPECT_EQ(pruned.row_token(layer, head, row), by_hand.row_token(layer, head, row));
          EXPECT_EQ(kv::stored_row(pruned.row(layer, head, row)),
                    kv::stored_row(by_hand.row(layer, head, row)));
        }
      }
    const kv::Sequence* both[] = {&pruned, &by_hand};
    kv::check_consistency(*pool_, both, {});
    EXPECT_EQ(feed(pruned, tokens(9, 2)), feed(by_hand, tokens(9, 2))) << "and it goes on";
  }
}

// All layers behind, over a first one that saw everything.
TEST_F(PruneStep, PagesOfTheLayersBehindAreFree) {
  kv::Sequence sequence = empty();
  const HalfOfASpan half(0, 0, 160);
  feed(sequence, tokens(161), &half);
  EXPECT_EQ(sequence.rows_held(0, 0), 161);
  EXPECT_EQ(sequence.rows_held(1, 0), 81);
  EXPECT_EQ(sequence.rows_held(2, 1), 81);
  EXPECT_EQ(sequence.rows_compressed(2, 1), 0) << "a press may still remove them";
  EXPECT_EQ(pool_->n_pages() - pool_->free_pages(), 2U * 11 + 4U * 6);
  EXPECT_NEAR(std::accumulate(half.seen.begin(), half.seen.end(), 0.0), 1.0, 1e-4);
  sequence.truncate_to(0);
  EXPECT_EQ(pool_->free_pages(), pool_->n_pages());
}

TEST_F(PruneStep, CompanionsInTheStepAreNotTouched) {
  const std::vector<int32_t> texts[] = {tokens(60, 1), tokens(90, 2), tokens(1, 3)};
  const HalfOfASpan half(1, 10, 80);
  std::vector<kv::Sequence> alone, together;
  std::vector<float> expected;
  std::vector<int32_t> last;
  for (int i = 0; i < 3; ++i) {
    alone.push_back(empty());
    together.push_back(empty());
    const std::vector<float> logits = feed(alone.back(), texts[i], i == 1 ? &half : nullptr);
    expected.insert(expected.end(), logits.begin(), logits.end());
    last.push_back(static_cast<int32_t>(texts[i].size()) - 1);
  }
  std::vector<StepSequence> steps;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(together[i].append_text(texts[i]));
    steps.push_back({.sequence = &together[i],
                     .n_new = last[i] + 1,
                     .logit_rows = std::span(&last[i], 1),
                     .pruner = i == 1 ? &half : nullptr});
  }
  const std::span<const float> logits = runner_->run(steps);
  EXPECT_EQ(std::vector<float>(logits.begin(), logits.end()), expected);
}

TEST_F(PruneStep, WhatCannotBeIsRefused) {
  kv::Sequence sequence = empty();
  const HalfOfASpan too_late(2, 0, 4), before(-1, 0, 4);
  EXPECT_THROW(feed(sequence, tokens(9), &too_late), Error);
  EXPECT_THROW(feed(sequence, tokens(9), &before), Error);
  struct NotTheLast final : TokenPruner {
    int after_layer() const override { return 0; }
    std::vector<int32_t> keep(std::span<const float>) const override { return {0, 1}; }
  } not_the_last;
  EXPECT_THROW(feed(sequence, tokens(9), &not_the_last), Error);
  sequence.truncate_to(0);
  EXPECT_EQ(pool_->free_pages(), pool_->n_pages());
}

}  // namespace
}  // namespace fastcache::model
