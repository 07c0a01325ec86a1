// SPDX-License-Identifier: Apache-2.0
#include "linear/linear_measure.h"

#include <ggml.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "base/compute_pool.h"
#include "base/error.h"
#include "base/log.h"

namespace fastcache::linear {
namespace {

constexpr size_t kColdBytes = size_t{160} << 20;  // several times the last-level cache of a small server
constexpr double kSecondsPerCase = 0.4;
constexpr int kMinRepetitions = 7;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::vector<float> random_values(size_t n) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

// A file tensor: 16 rows as a quantiser writes them, repeated.
std::vector<std::byte> random_weights(const LinearCase& shape, int n_out) {
  if (!can_pack(shape.ggml_type) ||
      shape.n_in % ggml_blck_size(static_cast<ggml_type>(shape.ggml_type)) != 0) {
    throw Error{Code::unsupported,
                fmt::format("cannot measure {} input channels of ggml type {}", shape.n_in, shape.ggml_type)};
  }
  const auto type = static_cast<ggml_type>(shape.ggml_type);
  const size_t row_bytes = ggml_row_size(type, shape.n_in);
  std::vector<std::byte> file(row_bytes * static_cast<size_t>(n_out));
  const int distinct = std::min(n_out, 16);
  const std::vector<float> values = random_values(static_cast<size_t>(distinct) * shape.n_in);
  if (type == GGML_TYPE_F32) {
    std::memcpy(file.data(), values.data(), values.size() * sizeof(float));
  } else {
    ggml_quantize_chunk(type, values.data(), file.data(), 0, distinct, shape.n_in, nullptr);
  }
  for (int i = distinct; i < n_out; ++i) {
    std::memcpy(file.data() + row_bytes * static_cast<size_t>(i),
                file.data() + row_bytes * static_cast<size_t>(i % distinct), row_bytes);
  }
  return file;
}

PackedMatrix packed_weights(const LinearCase& shape) {
  const bool gate = shape.epilogue == Epilogue::silu_mul || shape.epilogue == Epilogue::gelu_mul;
  const int n_out = gate ? shape.n_out / 2 : shape.n_out;
  const std::vector<std::byte> file = random_weights(shape, n_out);
  const WeightSource source{shape.ggml_type, file.data(), n_out, shape.n_in, "measured weight"};
  return gate ? pack_gate_up(source, source) : pack({&source, 1});
}

// Everything that the calls of one case need.
class Bench {
 public:
  Bench(const LinearCase& shape, ComputePool& pool) : shape_(shape), pool_(pool) {
    weights_.push_back(packed_weights(shape));
    const size_t copies = shape.cold ? std::clamp<size_t>(kColdBytes / weights_[0].bytes(), 1, 512) : 1;
    while (weights_.size() < copies) weights_.push_back(packed_weights(shape));
    x_ = random_values(static_cast<size_t>(shape.n_rows) * shape.n_in);
    const InputForms forms = weights_[0].input_forms();
    input_.reserve(shape.n_rows, shape.n_in, forms);
    out_.resize(static_cast<size_t>(shape.n_rows) * shape.n_out);
    gated_.reserve(shape.n_rows, std::max(32, shape.n_out / 2 / 32 * 32), forms);
  }

  double fill_input() {
    const Clock::time_point start = Clock::now();
    for (int r = 0; r < shape_.n_rows; ++r)
      input_.set_row(r, x_.data() + static_cast<size_t>(r) * shape_.n_in);
    return seconds_since(start);
  }

  double multiply(size_t repetition) {
    MatmulArgs args;
    args.weights = &weights_[repetition % weights_.size()];
    args.input = &input_;
    args.n_rows = shape_.n_rows;
    args.epilogue = shape_.epilogue;
    args.out = out_.data();
    args.residual = out_.data();
    args.out_stride = static_cast<size_t>(shape_.n_out);
    args.out_activations = &gated_;
    const Clock::time_point start = Clock::now();
    pool_.run([&](const WorkRange& range) {
      const double cpu_start = thread_seconds();
      matmul(args, range);
      cpu_seconds_[static_cast<size_t>(range.thread)] = thread_seconds() - cpu_start;
    });
    return seconds_since(start);
  }

  // Of the last multiply().
  double cpu_seconds() const { return *std::max_element(cpu_seconds_.begin(), cpu_seconds_.end()); }

  size_t weight_bytes() const { return weights_[0].bytes(); }

 private:
  const LinearCase& shape_;
  ComputePool& pool_;
  std::vector<PackedMatrix> weights_;  // one, or as many as it takes to leave the caches between two uses
  std::vector<float> x_, out_;
  Activations input_, gated_;
  std::vector<double> cpu_seconds_ = std::vector<double>(static_cast<size_t>(pool_.n_threads()));
};

}  // namespace

LinearTiming measure_matmul(const LinearCase& shape, ComputePool& pool) {
  Bench bench(shape, pool);
  LinearTiming timing;
  timing.operations = 2.0 * shape.n_out * shape.n_in * shape.n_rows;
  timing.bytes = static_cast<double>(bench.weight_bytes());
  timing.quantise_seconds = bench.fill_input();
  for (int i = 0; i < kMinRepetitions; ++i)
    timing.quantise_seconds = std::min(timing.quantise_seconds, bench.fill_input());

  bench.multiply(0);
  std::vector<double> times;
  double total = 0;
  for (size_t i = 1; total < kSecondsPerCase || times.size() < kMinRepetitions; ++i) {
    times.push_back(bench.multiply(i));
    total += times.back();
    timing.cpu_seconds = i == 1 ? bench.cpu_seconds() : std::min(timing.cpu_seconds, bench.cpu_seconds());
  }
  std::sort(times.begin(), times.end());
  timing.seconds = times[times.size() / 2];
  timing.best_seconds = times.front();
  return timing;
}

}  // namespace fastcache::linear
