// SPDX-License-Identifier: Apache-2.0
// Shared by the sampler's tests: a small vocabulary and logits for it.
#pragma once

#include <map>
#include <optional>
#include <random>
#include <vector>

#include "engine/sampler.h"
#include "model/testing/tiny_model.h"

namespace fastcache::engine {

inline constexpr int kVocab = 320;
// Nothing but temperature.
inline SamplingParams plain(float temperature, uint64_t seed) {
  SamplingParams params;
  params.temperature = temperature;
  params.seed = seed;
  params.top_k = 0;
  params.top_p = 1.0f;
  params.min_p = 0.0f;
  return params;
}

// One vocabulary for all tests: <unk> 0, <s> 1, </s> 2 (the only end), bytes, words.
inline const model::Vocab& vocab() {
  struct Loaded {
    Loaded() {
      model::test_support::write_tiny_model(folder.file("m.gguf"), {.n_vocab = kVocab});
      file.emplace(folder.file("m.gguf"));
      vocab.emplace(*file);
    }
    model::test_support::TemporaryFolder folder;
    std::optional<model::GgufFile> file;
    std::optional<model::Vocab> vocab;
  };
  static const Loaded loaded;
  return *loaded.vocab;
}

inline std::vector<float> random_logits(std::mt19937_64& random, float spread = 3.0f) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(kVocab);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// Everything but `logits` is as good as impossible.
inline std::vector<float> only(const std::map<int, float>& logits) {
  std::vector<float> all(kVocab, -1000.0f);
  for (const auto& [token, logit] : logits) all[static_cast<size_t>(token)] = logit;
  return all;
}

inline std::vector<int32_t> draw(Sampler& sampler, const std::vector<float>& logits, int n) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back(sampler.sample(logits).id);
  return tokens;
}

}  // namespace fastcache::engine
