// SPDX-License-Identifier: Apache-2.0
#include "eval/score.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "engine/testing/loop_model.h"
#include "press/prefill_record.h"
#include "press/press_string.h"

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
    for (const model::Token& token : continuation().first(continuation().size() - 1))
      rows.push_back(log_probabilities(sequence, token, nullptr));
    return rows;
  }
  std::vector<double> log_probabilities(kv::Sequence& sequence, const model::Token& token,
                                        model::QueryRecord* record) {
    const Workbench::Feed feed{.sequence = &sequence, .tokens = std::span(&token, 1), .record = record};
    const std::span<const float> logits = bench.feed(std::span(&feed, 1), Workbench::Logits::last);
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
    std::vector<double> row;
    for (const float logit : logits) row.push_back(static_cast<double>(logit) - std::log(sum));
    return row;
  }

  static constexpr int kRows = 60;
  // Of the context, to that many rows a head.
  static double to_rows(int n_tokens) { return 1.0 - (kRows + 0.5) / n_tokens; }

  // One token at a time, and behind each `every` of them the press once more, as if it were for the first
  // time. nll and peak_bytes alone.
  Score score_by_hand(const Context& read, const press::PressParams& params, int every) {
    const press::PressNeeds needs = bench.compress(read, params, to_rows(300)).press->needs();
    Context held{.sequence = bench.compress(read, params, to_rows(300)).sequence, .record = {}};
    Score score;
    for (int i = 0; i < 199; ++i) {
      const int n_tokens = held.sequence.token_count();
      if (i % every == 0)
        held.record = press::make_record(needs, read.record.attention, bench.shape().n_layers,
                                         {n_tokens, n_tokens + std::min(every, 199 - i)});
      const size_t at = static_cast<size_t>(i);
      const std::vector<double> row = log_probabilities(held.sequence, continuation()[at], &held.record);
      score.nll -= row[static_cast<size_t>(continuation()[at + 1])] / 199;
      score.peak_bytes = std::max(score.peak_bytes, resident_bytes(held.sequence));
      if ((i + 1) % every == 0) held.sequence = bench.compress(held, params, to_rows(n_tokens + 1)).sequence;
    }
    return score;
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

TEST_F(Scores, CompressionDuringDecodingIsAsByHand) {
  for (const char* inner : {"knorm", "snapkv(window=8)"})
    for (const int every : {16, 150}) {  // 150: more than one step feeds
      SCOPED_TRACE(testing::Message() << inner << ' ' << every);
      const press::PressParams params =
          press::parse_press(fmt::format("decoding({}, every={})", inner, every));
      const Context read = bench.read(context(), {.last_queries = 64});
      kv::Sequence full = read.sequence.fork();
      const Reference reference = score_reference(bench, full, continuation());
      Compressed cache = bench.compress(read, params, to_rows(300));
      const Score found = score(bench, cache, continuation(), reference);
      const Score right = score_by_hand(read, params, every);
      EXPECT_NEAR(found.nll, right.nll, 1e-5);
      EXPECT_EQ(found.peak_bytes, right.peak_bytes);
      EXPECT_EQ(found.n_on_compressed, 199);
      const size_t rows_per_page = 16,
                   pages = (kRows + static_cast<size_t>(every) + rows_per_page - 1) / rows_per_page;
      EXPECT_LE(found.peak_bytes, pages * 4 * bench.pool().page_bytes());

      Compressed once = bench.compress(read, press::parse_press(inner), to_rows(300));
      EXPECT_GT(std::abs(score(bench, once, continuation(), reference).nll - found.nll), 1e-3);
    }
}

TEST_F(Scores, APressThatDoesNotComeAgainIsTheOneItWraps) {
  const Context read = bench.read(context(), {});
  kv::Sequence full = read.sequence.fork();
  const Reference reference = score_reference(bench, full, continuation());
  Compressed wrapped = bench.compress(read, press::parse_press("decoding(knorm, every=199)"), to_rows(300));
  Compressed alone = bench.compress(read, press::parse_press("knorm"), to_rows(300));
  EXPECT_EQ(wrapped.bytes, alone.bytes);
  const Score a = score(bench, wrapped, continuation(), reference),
              b = score(bench, alone, continuation(), reference);
  EXPECT_EQ(a.nll, b.nll);
  EXPECT_EQ(a.kl, b.kl);
  EXPECT_EQ(a.peak_bytes, b.peak_bytes);
  EXPECT_EQ(resident_bytes(full), 4 * 32 * bench.pool().page_bytes());  // of 499 tokens
}

TEST(Softmax, OfLogits) {
  const std::vector<float> logits{1.0f, 3.0f, 3.0f, -100.0f};
  const Softmax total = softmax(logits);
  EXPECT_NEAR(total.log_sum, std::log(std::exp(1.0) + 2 * std::exp(3.0)), 1e-6);
  EXPECT_EQ(total.top, 1);
}

}  // namespace
}  // namespace fastcache::eval
