// SPDX-License-Identifier: Apache-2.0
// The queries that steps leave behind: those of one step over the whole prompt, whatever the chunking, the
// companions and the threads.
#include "model/query_record.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/test_seed.h"
#include "model/runner.h"
#include "model/testing/evaluate.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using test_support::TestModel;

constexpr int kPrompt = 150, kLast = 40;

class QueryRecordTest : public testing::Test {
 protected:
  QueryRecordTest() {
    test_support::write_tiny_model(folder_.file("tiny.gguf"), {});
    model_ = std::make_unique<TestModel>(folder_.file("tiny.gguf"));
  }

  LastQueries last_queries(int first, int end) const {
    const HParams& h = model_->hparams;
    return {h.n_layers, h.n_heads, h.head_dim, first, end};
  }

  struct Chunk {
    int n = 0;
    int n_companion = 0;  // rows of another sequence in the step
  };
  QueryRecord record_of(std::span<const int32_t> tokens, std::span<const Chunk> chunks, int n_threads) {
    kv::PagePool pool({.head_dim = model_->hparams.head_dim, .bytes = size_t{16} << 20});
    ComputePool compute(n_threads);
    Runner runner(model_->hparams, *model_->family, pool, compute);
    const kv::CacheShape shape = cache_shape(model_->hparams, kv::KvType::bf16);
    kv::Sequence sequence(pool, shape), companion(pool, shape);
    const int end = static_cast<int>(tokens.size());
    QueryRecord record{.attention = runner.attention(), .last = last_queries(end - kLast, end)};
    record.moments = {model_->hparams.n_layers, model_->hparams.n_heads, model_->hparams.head_dim, 4, end};
    const int32_t no_rows[1] = {};
    for (const Chunk& chunk : chunks) {
      std::vector<StepSequence> step;
      if (chunk.n_companion > 0) {
        EXPECT_TRUE(companion.append_text(std::vector<int32_t>(static_cast<size_t>(chunk.n_companion), 7)));
        step.push_back({.sequence = &companion, .n_new = chunk.n_companion, .logit_rows = {no_rows, 1}});
      }
      const auto done = static_cast<size_t>(sequence.token_count());
      EXPECT_TRUE(sequence.append_text(tokens.subspan(done, static_cast<size_t>(chunk.n))));
      step.push_back(
          {.sequence = &sequence, .n_new = chunk.n, .logit_rows = {no_rows, 1}, .record = &record});
      runner.run(step);
    }
    EXPECT_EQ(sequence.token_count(), end);
    return record;
  }

  void expect_equal(const QueryRecord& a, const QueryRecord& b) const {
    const int width = model_->hparams.n_heads * model_->hparams.head_dim;
    for (int layer = 0; layer < model_->hparams.n_layers; ++layer)
      for (int token = kPrompt - kLast; token < kPrompt; ++token)
        ASSERT_TRUE(
            std::equal(a.last.at(layer, token), a.last.at(layer, token) + width, b.last.at(layer, token)))
            << "layer " << layer << ", token " << token;
    for (int layer = 0; layer < model_->hparams.n_layers; ++layer)
      for (int head = 0; head < model_->hparams.n_heads; ++head)
        ASSERT_EQ(moments_of(a, layer, head), moments_of(b, layer, head))
            << "layer " << layer << ", head " << head;
  }

  // Mean, then covariance.
  std::vector<double> moments_of(const QueryRecord& record, int layer, int head) const {
    const auto d = static_cast<size_t>(model_->hparams.head_dim);
    std::vector<double> moments(d + d * d);
    record.moments.get(layer, head, moments.data(), moments.data() + d);
    return moments;
  }

  test_support::TemporaryFolder folder_;
  std::unique_ptr<TestModel> model_;
};

TEST_F(QueryRecordTest, IsTheSameForAnyChunkingCompanionsAndThreads) {
  std::mt19937_64 random(test_seed());
  std::vector<int32_t> tokens(kPrompt);
  for (int32_t& token : tokens) token = 3 + static_cast<int32_t>(random() % 300);
  const std::vector<Chunk> whole{{.n = kPrompt}};
  const QueryRecord right = record_of(tokens, whole, 1);
  for (int round = 0; round < 8; ++round) {
    std::vector<Chunk> chunks;
    for (int left = kPrompt; left > 0; left -= chunks.back().n) {
      const int n = 1 + static_cast<int>(random() % (round % 2 == 0 ? 6 : 70));
      chunks.push_back({.n = std::min(left, n), .n_companion = static_cast<int>(random() % 9)});
    }
    const QueryRecord record = record_of(tokens, chunks, round == 3 ? 2 : 1);
    expect_equal(record, right);
    if (HasFatalFailure()) FAIL() << "FASTCACHE_TEST_SEED=" << test_seed() << ", round " << round;
  }
}

// In the first layer a query depends on its token and position alone: rotated back they are all the same.
TEST_F(QueryRecordTest, HoldsQueriesAfterRope) {
  const std::vector<int32_t> tokens(kPrompt, 42);
  const std::vector<Chunk> whole{{.n = kPrompt}};
  const QueryRecord record = record_of(tokens, whole, 2);
  const HParams& h = model_->hparams;
  const attention::RopeTable& rope = *record.attention.rope;
  std::vector<float> first, cos_sin(static_cast<size_t>(rope.n_dims));
  float largest = 0, moved = 0;
  for (int token = kPrompt - kLast; token < kPrompt; ++token) {
    std::vector<float> q(record.last.at(0, token), record.last.at(0, token) + h.n_heads * h.head_dim);
    const std::vector<float> rotated = q;
    attention::rope_angles(rope, -token, cos_sin.data());
    for (int head = 0; head < h.n_heads; ++head)
      attention::rope_rotate(rope, cos_sin.data(), q.data() + head * h.head_dim);
    if (first.empty()) first = q;
    for (size_t i = 0; i < q.size(); ++i) {
      largest = std::max(largest, std::abs(q[i]));
      moved = std::max(moved, std::abs(rotated[i] - q[i]));
      ASSERT_NEAR(q[i], first[i], 1e-5) << "token " << token << ", channel " << i;
    }
  }
  EXPECT_GT(largest, 0.1f);
  EXPECT_GT(moved, 0.1f);
}

// The mean of the queries before RoPE is not that of the recorded ones, but where all tokens are one token it
// is each of them, rotated back, and nothing is spread.
TEST_F(QueryRecordTest, MomentsAreOfQueriesBeforeRope) {
  const std::vector<int32_t> tokens(kPrompt, 42);
  const std::vector<Chunk> whole{{.n = kPrompt}};
  const QueryRecord record = record_of(tokens, whole, 2);
  const attention::RopeTable& rope = *record.attention.rope;
  std::vector<float> cos_sin(static_cast<size_t>(rope.n_dims));
  attention::rope_angles(rope, -(kPrompt - 1), cos_sin.data());
  const int d = model_->hparams.head_dim;
  for (int head = 0; head < model_->hparams.n_heads; ++head) {
    const float* last = record.last.at(0, kPrompt - 1) + head * d;
    std::vector<float> q(last, last + d);
    attention::rope_rotate(rope, cos_sin.data(), q.data());
    const std::vector<double> moments = moments_of(record, 0, head);
    for (int i = 0; i < d; ++i) EXPECT_NEAR(moments[static_cast<size_t>(i)], q[static_cast<size_t>(i)], 1e-5);
    for (size_t i = static_cast<size_t>(d); i < moments.size(); ++i) EXPECT_EQ(moments[i], 0.0);
  }
}

TEST(QueryMoments, AreTheFormulasAlsoWithLargeMeans) {
  constexpr int d = 48, kTokens = 700, kSkip = 4, kStride = 2 * d + 3;
  std::mt19937_64 random(test_seed());
  std::normal_distribution<float> normal;
  std::vector<float> q(size_t{kTokens} * kStride);
  for (float& x : q) x = 500.0f + normal(random);
  QueryMoments moments(2, 2, d, kSkip, kTokens);
  for (int token = 0, n = 0; token < kTokens; token += n) {
    n = std::min(kTokens - token, 1 + static_cast<int>(random() % 200));
    for (const int part : {2, 0, 1})
      moments.add(1, 1, part, token, n, &q[size_t(token) * kStride + d], kStride);
  }
  std::vector<double> mean(d), covariance(d * d), right(d);
  moments.get(1, 1, mean.data(), covariance.data());
  const auto at = [&](int token, int i) { return static_cast<double>(q[size_t(token) * kStride + d + i]); };
  for (int i = 0; i < d; ++i) {
    for (int token = kSkip; token < kTokens; ++token) right[i] += at(token, i) / (kTokens - kSkip);
    EXPECT_NEAR(mean[i], right[i], 1e-4);
  }
  for (int i = 0; i < d; ++i)
    for (int j = 0; j < d; ++j) {
      double product = 0;
      for (int token = kSkip; token < kTokens; ++token)
        product += (at(token, i) - right[i]) * (at(token, j) - right[j]) / (kTokens - kSkip);
      ASSERT_NEAR(covariance[i * d + j], product, 1e-4) << i << ", " << j;
    }
  moments.get(0, 1, mean.data(), covariance.data());
  EXPECT_EQ(std::count(mean.begin(), mean.end(), 0.0), d) << "the other layer has none";
}

TEST(LastQueries, KeepsItsTokensAlone) {
  LastQueries last(2, 1, 4, 3, 5);
  EXPECT_EQ(last.bytes(), 2 * 2 * 4 * sizeof(float));
  const float a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8};
  for (const int token : {0, 2, 5, 6, 1'000'000}) last.set(1, token, b);
  last.set(1, 4, a);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(last.at(1, 3)[i], 0.0f);
    EXPECT_EQ(last.at(1, 4)[i], a[i]);
    EXPECT_EQ(last.at(0, 4)[i], 0.0f);
  }
}

}  // namespace
}  // namespace fastcache::model
