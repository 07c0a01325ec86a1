// SPDX-License-Identifier: Apache-2.0
// Random weights in every file type, their values by ggml (the oracle), and matmul on a few plain threads.
// Tests only.
#pragma once

#include <ggml.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/bf16.h"
#include "base/log.h"
#include "base/test_seed.h"
#include "linear/kernels.h"
#include "linear/linear.h"
#include "linear/source_blocks.h"

namespace fastcache::linear {

inline constexpr std::array kAllTypes{GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
                                      GGML_TYPE_Q8_0, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K, GGML_TYPE_Q4_K,
                                      GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_F16,  GGML_TYPE_BF16,
                                      GGML_TYPE_F32};

using Random = std::mt19937_64;

inline int uniform(Random& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

inline std::vector<float> normal_vector(Random& random, size_t n, float deviation = 1.0F) {
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

struct Weights {
  ggml_type type;
  int n_out, n_in;
  std::vector<std::byte> file;  // as in a GGUF file
  std::vector<float> values;    // [n_out, n_in], dequantised by ggml

  WeightSource source(const char* name = "test.weight") const {
    return {type, file.data(), n_out, n_in, name};
  }
};

inline void dequantise(Weights& weights) {
  weights.values.resize(static_cast<size_t>(weights.n_out) * weights.n_in);
  if (weights.type == GGML_TYPE_F32) {
    std::memcpy(weights.values.data(), weights.file.data(), weights.file.size());
    return;
  }
  ggml_get_type_traits(weights.type)
      ->to_float(weights.file.data(), weights.values.data(), static_cast<int64_t>(weights.values.size()));
}

// What a quantiser writes for normally distributed weights, with a mean that makes the mins matter.
inline Weights quantised_weights(Random& random, ggml_type type, int n_out, int n_in) {
  Weights weights{type, n_out, n_in, {}, {}};
  std::vector<float> values = normal_vector(random, static_cast<size_t>(n_out) * n_in, 0.05F);
  for (float& value : values) value += 0.01F;
  weights.file.resize(ggml_row_size(type, n_in) * static_cast<size_t>(n_out));
  if (type == GGML_TYPE_F32) {
    std::memcpy(weights.file.data(), values.data(), weights.file.size());
  } else {
    ggml_quantize_chunk(type, values.data(), weights.file.data(), 0, n_out, n_in, nullptr);
  }
  dequantise(weights);
  return weights;
}

// Any bits at all, but finite scales: what the block format allows, whether or not a quantiser would write
// it.
inline Weights random_bytes_weights(Random& random, ggml_type type, int n_out, int n_in) {
  Weights weights{type, n_out, n_in, {}, {}};
  weights.file.resize(ggml_row_size(type, n_in) * static_cast<size_t>(n_out));
  const SourceType* info = find_source_type(type);
  const auto random_block = [&](std::byte* block) {
    for (size_t i = 0; i < info->block_bytes; ++i) block[i] = static_cast<std::byte>(random() & 255);
  };
  std::vector<float> row(static_cast<size_t>(info->channels));
  for (size_t at = 0; at < weights.file.size(); at += info->block_bytes) {
    for (bool finite = false; !finite;) {
      random_block(weights.file.data() + at);
      if (type == GGML_TYPE_F32) {
        std::memcpy(row.data(), weights.file.data() + at, sizeof(float));
      } else {
        ggml_get_type_traits(type)->to_float(weights.file.data() + at, row.data(), info->channels);
      }
      finite = std::all_of(row.begin(), row.end(), [](float value) { return std::isfinite(value); });
    }
  }
  dequantise(weights);
  return weights;
}

// matmul with the given kernels on n_threads threads, as the compute pool would run it.
inline void run_matmul(const KernelTable& table, const MatmulArgs& args, int n_threads) {
  TaskCounter tasks;
  tasks.reset();
  std::vector<std::thread> threads;
  for (int i = 1; i < n_threads; ++i) {
    threads.emplace_back([&, i] { matmul_with(table, args, WorkRange{i, n_threads, &tasks}); });
  }
  matmul_with(table, args, WorkRange{0, n_threads, &tasks});
  for (std::thread& thread : threads) thread.join();
}

inline Activations filled(const KernelTable& table, const PackedMatrix& weights, const std::vector<float>& x,
                          int n_rows) {
  Activations activations;
  const int n_in = weights.n_in();
  activations.reserve(n_rows, n_in, weights.input_forms());
  for (int r = 0; r < n_rows; ++r) {
    activations.set_part_with(table, r, 0, n_in, x.data() + static_cast<size_t>(r) * n_in);
  }
  return activations;
}

inline std::vector<float> store(const KernelTable& table, const PackedMatrix& weights,
                                const Activations& input, int n_rows, int n_threads = 1) {
  std::vector<float> out(static_cast<size_t>(n_rows) * weights.n_out(), NAN);
  MatmulArgs args;
  args.weights = &weights;
  args.input = &input;
  args.n_rows = n_rows;
  args.out = out.data();
  args.out_stride = static_cast<size_t>(weights.n_out());
  run_matmul(table, args, n_threads);
  return out;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace fastcache::linear
