// SPDX-License-Identifier: Apache-2.0
// Accuracy on real text: our logits for a model's file against the same file dequantised and run in f32 by
// libllama. libllama's own error on the file is the yardstick.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "model/models.h"
#include "model/testing/evaluate.h"
#include "model/testing/llama_oracle.h"
#include "model/vocab.h"

namespace fastcache::model {
namespace {

using test_support::TestModel;

// A text that every Debian system carries.
std::string real_text() {
  for (const char* path : {"/usr/share/common-licenses/GPL-3", "/usr/share/common-licenses/Apache-2.0"}) {
    std::ifstream file(path);
    if (file) return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  return {};
}

// KL(p || q) in nats, of the distributions that two rows of logits mean.
double divergence(std::span<const float> p, std::span<const float> q) {
  const auto log_sum = [](std::span<const float> x) {
    const double largest = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (float value : x) sum += std::exp(value - largest);
    return largest + std::log(sum);
  };
  const double p_total = log_sum(p);
  const double q_total = log_sum(q);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_total;
    sum += std::exp(log_p) * (log_p - (q[i] - q_total));
  }
  return sum;
}

class Accuracy : public testing::Test {
 protected:
  void SetUp() override {
    if (real_text().empty()) GTEST_SKIP() << "no licence text on this system";
  }

  void load(const std::filesystem::path& model, size_t n_tokens) {
    path_ = model.string();
    const GgufFile file(path_);
    tokens_ = Vocab(file).tokenize(real_text(), {.add_special = true});
    ASSERT_GE(tokens_.size(), n_tokens);
    tokens_.resize(n_tokens);
    test_support::LlamaOracle oracle(test_support::model_in_f32(model),
                                     {.n_ctx = static_cast<int>(n_tokens)});
    n_vocab_ = static_cast<size_t>(oracle.n_vocab());
    reference_.reserve(n_tokens * n_vocab_);
    oracle.evaluate(tokens_, [&](int, std::span<const float> logits) {
      reference_.insert(reference_.end(), logits.begin(), logits.end());
    });
  }

  // Mean KL(candidate || reference) over all tokens; `run` hands out the candidate's logits chunk by chunk.
  double mean_kl(const std::function<void(const test_support::OnChunk&)>& run) const {
    double sum = 0;
    run([&](int first, std::span<const float> logits) {
      for (size_t row = 0; row < logits.size() / n_vocab_; ++row) {
        const size_t position = static_cast<size_t>(first) + row;
        sum += divergence(logits.subspan(row * n_vocab_, n_vocab_),
                          std::span(reference_).subspan(position * n_vocab_, n_vocab_));
      }
    });
    return sum / static_cast<double>(tokens_.size());
  }

  // libllama as its users run it: repacked weights, f16 cache.
  double libllamas_kl() {
    test_support::LlamaOracle libllama(path_,
                                       {.n_ctx = static_cast<int>(tokens_.size()), .kv_type = GGML_TYPE_F16});
    return mean_kl([&](const test_support::OnChunk& chunk) { libllama.evaluate(tokens_, chunk); });
  }

  double our_kl(kv::KvType kv_type) {
    TestModel model(path_);
    return mean_kl(
        [&](const test_support::OnChunk& chunk) { evaluate(model, tokens_, {.kv_type = kv_type}, chunk); });
  }

  std::string path_;
  std::vector<int32_t> tokens_;
  size_t n_vocab_ = 0;
  std::vector<float> reference_;  // [tokens, n_vocab]: 800 MB
};

TEST_F(Accuracy, IsAsGoodAsLibllamasOnTheSameFile) {
  load(default_model(), 4096);
  const double yardstick = libllamas_kl();
  const double bf16 = our_kl(kv::KvType::bf16);
  const double f32 = our_kl(kv::KvType::f32);
  const double int8 = our_kl(kv::KvType::int8);
  std::printf(
      "KL to the f32 model, nats per token: libllama %.6f, ours bf16 %.6f (%.3f x), f32 %.6f, int8 %.6f\n",
      yardstick, bf16, bf16 / yardstick, f32, int8);
  EXPECT_GT(yardstick, 0);
  EXPECT_LE(bf16, 1.1 * yardstick);
  EXPECT_LE(f32, 1.1 * yardstick);
  EXPECT_LE(int8, 2.0 * yardstick);  // int8 pages cost some accuracy; this bound notices a broken kernel
}

// A real model with sliding windows, of 512 rows; `scripts/fetch gemma3` brings it.
TEST_F(Accuracy, Gemma3IsAsGoodAsLibllamasOnTheSameFile) {
  const auto path = cache_folder() / "testing" / "gemma-3-270m-q4_k_m.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there: scripts/fetch gemma3";
  load(path, 768);
  const double yardstick = libllamas_kl();
  const double bf16 = our_kl(kv::KvType::bf16);
  std::printf("KL to Gemma 3 in f32, nats per token: libllama %.6f, ours bf16 %.6f (%.3f x)\n", yardstick,
              bf16, bf16 / yardstick);
  EXPECT_GT(yardstick, 0);
  EXPECT_LE(bf16, 1.1 * yardstick);
}

}  // namespace
}  // namespace fastcache::model
