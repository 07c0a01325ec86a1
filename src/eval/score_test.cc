// SPDX-License-Identifier: Apache-2.0
#include "eval/score.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/testing/loop_model.h"

namespace fastcache::eval {
namespace {

using engine::test_support::LoopModel;

class Scores : public testing::Test {
 protected:
  LoopModel loop{1024};
  Workbench bench{loop.model, loop.compute, {.capacity_tokens = 3000, .max_sequences = 5}};
  Tokens text = LoopModel::prompt(500, 7);

  std::span<const model::Token> context() const { return std::span(text).first(300); }
  std::span<const model::Token> continuation() const { return std::span(text).subspan(300); }

  // [199, n_vocab] ln p of the tokens behind the continuation's, one at a time and in double.
  std::vector<std::vector<double>> plain_log_probabilities(kv::Sequence& sequence) {
    std::vector<std::vector<double>> rows;
    for (const model::Token& token : continuation().first(continuation().size() - 1)) {
      const Workbench::Feed feed{.sequence = &sequence, .tokens = std::span(&token, 1)};
      const std::span<const float> logits = bench.feed(std::span(&feed, 1), Workbench::Logits::last);
      double sum = 0;
      for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
      std::vector<double>& row = rows.emplace_back();
      for (const float logit : logits) row.push_back(static_cast<double>(logit) - std::log(sum));
    }
    return rows;
  }
};

TEST_F(Scores, AreTheFormulas) {
  const Context read = bench.read(context(), {});
  kv::Sequence full = read.sequence.fork(), full_again = read.sequence.fork();
  kv::Sequence window = bench.window(read, 4, 20), window_again = window.fork();
  const Reference reference = score_reference(bench, full, continuation());
  const Score found = score(bench, window, continuation(), reference);

  const auto p = plain_log_probabilities(full_again), q = plain_log_probabilities(window_again);
  ASSERT_EQ(p.size(), 199u);
  double full_nll = 0, nll = 0, kl = 0, same = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const size_t right = static_cast<size_t>(continuation()[i + 1]);
    full_nll -= p[i][right] / 199;
    nll -= q[i][right] / 199;
    for (size_t word = 0; word < p[i].size(); ++word)
      kl += std::exp(p[i][word]) * (p[i][word] - q[i][word]) / 199;
    const auto top = [](const std::vector<double>& row) {
      return std::max_element(row.begin(), row.end()) - row.begin();
    };
    same += top(p[i]) == top(q[i]) ? 1.0 / 199 : 0.0;
  }
  // Rounding of one float logit of size 30, and of 320 float probabilities
  EXPECT_NEAR(reference.nll, full_nll, 1e-5);
  EXPECT_NEAR(found.nll, nll, 1e-5);
  EXPECT_NEAR(found.kl, kl, 1e-5);
  EXPECT_NEAR(found.top1, same, 1e-9);
  EXPECT_GT(found.kl, 1e-4);
  EXPECT_EQ(found.n_tokens, 199);
  EXPECT_EQ(found.n_on_compressed, 199);
}

TEST_F(Scores, TheFullCacheIsItself) {
  const Context read = bench.read(context(), {});
  kv::Sequence first = read.sequence.fork(), second = read.sequence.fork();
  const Reference reference = score_reference(bench, first, continuation());
  const Score found = score(bench, second, continuation(), reference);
  EXPECT_EQ(found.nll, reference.nll);
  EXPECT_NEAR(found.kl, 0, 1e-6);
  EXPECT_EQ(found.top1, 1.0);
  EXPECT_EQ(found.n_on_compressed, 0);
}

TEST(Softmax, OfLogits) {
  const std::vector<float> logits{1.0f, 3.0f, 3.0f, -100.0f};
  const Softmax total = softmax(logits);
  EXPECT_NEAR(total.log_sum, std::log(std::exp(1.0) + 2 * std::exp(3.0)), 1e-6);
  EXPECT_EQ(total.top, 1);
}

}  // namespace
}  // namespace fastcache::eval
