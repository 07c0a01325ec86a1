// SPDX-License-Identifier: Apache-2.0
// Test support: our own logits for a text, through the product's runner, pool and sequences.
#pragma once

#include <functional>
#include <random>
#include <span>
#include <vector>

#include "model/runner.h"

namespace fastcache::model::test_support {

struct EvaluateOptions {
  kv::KvType kv_type = kv::KvType::bf16;
  int n_threads = 2;
  std::vector<int> chunks{512};  // sizes of the steps; the last one repeats
  bool free_unseen = false;      // pages that have left the sliding windows, behind each step
  const LoraAdapter* lora = nullptr;
  bool adapted = false;             // evaluate(): by lora
  std::vector<bool> adapts_text{};  // evaluate_together(): which texts are; empty: none
};

// A model's weights, ready for any number of evaluations.
struct TestModel {
  TestModel(const std::string& path, int n_threads = 2);
  GgufFile file;
  HParams hparams;
  ComputePool compute;
  std::unique_ptr<Family> family;
};

// Calls chunk(first_position, logits [n, n_vocab]) in order; the logits are valid during the call.
using OnChunk = std::function<void(int first_position, std::span<const float> logits)>;
void evaluate(TestModel& model, std::span<const int32_t> tokens, const EvaluateOptions& options,
              const OnChunk& chunk);

// Several texts side by side, in steps of random sizes in which some sit out. Calls row(text, position,
// logits [n_vocab]) for the last token of each step.
using OnRow = std::function<void(int text, int position, std::span<const float> logits)>;
void evaluate_together(TestModel& model, std::span<const std::vector<int32_t>> texts,
                       const EvaluateOptions& options, std::mt19937& random, const OnRow& row);

// [tokens.size(), n_vocab]: for small models. Also checks that the pool is empty afterwards.
std::vector<float> logits_of(TestModel& model, std::span<const int32_t> tokens,
                             const EvaluateOptions& options);

}  // namespace fastcache::model::test_support
