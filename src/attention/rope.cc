// SPDX-License-Identifier: Apache-2.0
#include "attention/rope.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/log.h"
#include "base/simd.h"

namespace fastcache::attention {
namespace {

// Llama 3.1: waves that fit often into the original context keep their frequency, long ones are stretched.
double llama3_frequency(double frequency, const RopeScaling& scaling) {
  const double turns = scaling.original_context * frequency / (2 * std::numbers::pi);
  if (turns > scaling.high_frequency_factor) return frequency;
  if (turns < scaling.low_frequency_factor) return frequency / scaling.factor;
  const double kept =
      (turns - scaling.low_frequency_factor) / (scaling.high_frequency_factor - scaling.low_frequency_factor);
  return (1 - kept) * frequency / scaling.factor + kept * frequency;
}

// The pair whose wave turns this often within the original context.
double pair_that_turns(double turns, int n_dims, double base, const RopeScaling& scaling) {
  return n_dims * std::log(scaling.original_context / (turns * 2 * std::numbers::pi)) / (2 * std::log(base));
}

double yarn_frequency(double frequency, int pair, int n_dims, double base, const RopeScaling& scaling) {
  const double low = std::max(0.0, std::floor(pair_that_turns(scaling.beta_fast, n_dims, base, scaling)));
  const double high =
      std::min(n_dims - 1.0, std::ceil(pair_that_turns(scaling.beta_slow, n_dims, base, scaling)));
  const double ramp = std::clamp((pair - low) / std::max(0.001, high - low), 0.0, 1.0);
  const double kept = (1 - ramp) * scaling.extrapolation;
  return (1 - kept) * frequency / scaling.factor + kept * frequency;
}

void check(int n_dims, double base, const RopeScaling& scaling, std::span<const float> divisors) {
  if (n_dims < 2 || n_dims % 2 != 0) {
    throw Error{Code::invalid_model,
                fmt::format("rope: {} rotated channels; the number must be even and positive", n_dims)};
  }
  if (!(base > 1) || !(scaling.factor > 0)) {
    throw Error{
        Code::invalid_model,
        fmt::format("rope: base {} must be above 1 and scaling factor {} above 0", base, scaling.factor)};
  }
  if (scaling.kind == RopeScaling::Kind::llama3 &&
      !(scaling.high_frequency_factor > scaling.low_frequency_factor && scaling.original_context > 0)) {
    throw Error{Code::invalid_model,
                "rope: llama3 scaling needs low < high frequency factor and the original context"};
  }
  if (scaling.kind == RopeScaling::Kind::yarn && scaling.original_context <= 0) {
    throw Error{Code::invalid_model, "rope: YaRN scaling needs the original context length"};
  }
  if (!divisors.empty() && divisors.size() != static_cast<size_t>(n_dims / 2)) {
    throw Error{Code::invalid_model,
                fmt::format("rope: {} frequency factors for {} pairs", divisors.size(), n_dims / 2)};
  }
  for (float divisor : divisors) {
    if (!(divisor > 0))
      throw Error{Code::invalid_model, fmt::format("rope: frequency factor {} must be above 0", divisor)};
  }
}

}  // namespace

RopeTable make_rope_table(RopeStyle style, int n_dims, double base, const RopeScaling& scaling,
                          std::span<const float> divisors) {
  check(n_dims, base, scaling, divisors);
  RopeTable table;
  table.style = style;
  table.n_dims = n_dims;
  table.inverse_frequency.reserve(static_cast<size_t>(n_dims / 2));
  for (int pair = 0; pair < n_dims / 2; ++pair) {
    double frequency = std::pow(base, -2.0 * pair / n_dims);
    if (!divisors.empty()) frequency /= static_cast<double>(divisors[static_cast<size_t>(pair)]);
    switch (scaling.kind) {
      case RopeScaling::Kind::none:
        break;
      case RopeScaling::Kind::linear:
        frequency /= scaling.factor;
        break;
      case RopeScaling::Kind::llama3:
        frequency = llama3_frequency(frequency, scaling);
        break;
      case RopeScaling::Kind::yarn:
        frequency = yarn_frequency(frequency, pair, n_dims, base, scaling);
        break;
    }
    table.inverse_frequency.push_back(static_cast<float>(frequency));
  }
  double magnitude = scaling.magnitude;
  if (scaling.kind == RopeScaling::Kind::yarn && scaling.extrapolation != 0)
    magnitude *= 1 + 0.1 * std::log(scaling.factor);
  table.magnitude = static_cast<float>(magnitude);
  return table;
}

void rope_angles(const RopeTable& table, const std::array<int32_t, 4>& positions, float* cos_sin) {
  for (size_t pair = 0; pair < table.inverse_frequency.size(); ++pair) {
    const int32_t position = positions[table.section.empty() ? 0 : table.section[pair]];
    const double angle = static_cast<double>(position) * static_cast<double>(table.inverse_frequency[pair]);
    cos_sin[2 * pair] = static_cast<float>(std::cos(angle)) * table.magnitude;
    cos_sin[2 * pair + 1] = static_cast<float>(std::sin(angle)) * table.magnitude;
  }
}

void rope_angles(const RopeTable& table, int32_t position, float* cos_sin) {
  rope_angles(table, std::array{position, position, position, position}, cos_sin);
}

namespace {

// The two styles as loops of their own: with the strides known the compiler vectorises them. Each pair is
// computed alone, so the width of the registers changes no bit.
FC_CLONES void rotate_adjacent(int n_pairs, const float* __restrict cos_sin, float* __restrict x) {
  for (int pair = 0; pair < n_pairs; ++pair) {
    const float c = cos_sin[2 * pair], s = cos_sin[2 * pair + 1];
    const float first = x[2 * pair], second = x[2 * pair + 1];
    x[2 * pair] = first * c - second * s;
    x[2 * pair + 1] = first * s + second * c;
  }
}

FC_CLONES void rotate_halves(int n_pairs, const float* __restrict cos_sin, float* __restrict low,
                             float* __restrict high) {
  for (int pair = 0; pair < n_pairs; ++pair) {
    const float c = cos_sin[2 * pair], s = cos_sin[2 * pair + 1];
    const float first = low[pair], second = high[pair];
    low[pair] = first * c - second * s;
    high[pair] = first * s + second * c;
  }
}

}  // namespace

void rope_rotate(const RopeTable& table, const float* cos_sin, float* x) {
  const int n_pairs = table.n_dims / 2;
  if (table.style == RopeStyle::adjacent) {
    rotate_adjacent(n_pairs, cos_sin, x);
  } else {
    rotate_halves(n_pairs, cos_sin, x, x + n_pairs);
  }
}

}  // namespace fastcache::attention
