// SPDX-License-Identifier: Apache-2.0
// Accuracy on real text: our logits for the embedded model's file against the same file dequantised and run in f32 by
// libllama. libllama's own error on the file is the yardstick.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "base/log.h"
#include "model/models.h"
#include "model/testing/evaluate.h"
#include "model/testing/llama_oracle.h"
#include "model/vocab.h"

namespace fastcache::model {
namespace {

constexpr int kTokens = 4096;

// A text that every Debian system carries.
std::string real_text() {
  for (const char* path : {"/usr/share/common-licenses/GPL-3", "/usr/share/common-licenses/Apache-2.0"}) {
    std::ifstream file(path);
    if (file) return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  return {};
}

std::vector<double> log_probabilities(std::span<const float> logits) {
  double largest = logits[0];
  for (float x : logits) largest = std::max(largest, double{x});
  double sum = 0;
  for (float x : logits) sum += std::exp(x - largest);
  std::vector<double> result;
  for (float x : logits) result.push_back(x - largest - std::log(sum));
  return result;
}

// KL(p || q) in nats.
double divergence(const std::vector<double>& log_p, const std::vector<double>& log_q) {
  double sum = 0;
  for (size_t i = 0; i < log_p.size(); ++i) sum += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
  return sum;
}

struct Candidate {
  std::string name;
  std::vector<std::vector<float>> chunks{};  // of logits, in order
  double kl = 0;                             // sum of KL(candidate || reference)
  int same_top = 0;
};

class Accuracy : public testing::Test {
 protected:
  void SetUp() override {
    const std::string text = real_text();
    if (text.empty()) GTEST_SKIP() << "no licence text on this system";
    path_ = default_model().string();
    const GgufFile file(path_);
    tokens_ = Vocab(file).tokenize(text, {.add_special = true});
    ASSERT_GE(tokens_.size(), size_t{kTokens});
    tokens_.resize(kTokens);
  }

  // Logits of all tokens are 800 MB a candidate, so each is compared as the reference comes along.
  void compare(std::vector<Candidate>& candidates, const std::vector<EvaluateOnce>& runs);

  std::string path_;
  std::vector<int32_t> tokens_;
};

}  // namespace
}  // namespace fastcache::model
