// SPDX-License-Identifier: Apache-2.0
// The rotation frequencies of a model. The formulas are those of ggml_rope_ext, in double instead of
// accumulated floats. source: YaRN, arXiv 2309.00071
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "model/hparams.h"

namespace fastcache::model {
namespace {

// The (fractional) pair, times two, that turns n_rotations times over the original context.
double yarn_dim(const HParams& h, double n_rotations) {
  return h.rope_dims * std::log(h.rope_original_context / (n_rotations * 2 * std::numbers::pi)) /
         (2 * std::log(static_cast<double>(h.rope_base)));
}

// Share of pair i that keeps its trained frequency: 1 for fast pairs, 0 for slow ones.
double yarn_keep(const HParams& h, int pair) {
  const double low = std::max(0.0, std::floor(yarn_dim(h, h.yarn_beta_fast)));
  const double high = std::min(h.rope_dims - 1.0, std::ceil(yarn_dim(h, h.yarn_beta_slow)));
  const double ramp = (pair - low) / std::max(0.001, high - low);
  return 1.0 - std::clamp(ramp, 0.0, 1.0);
}

}  // namespace

attention::RopeTable make_rope(const HParams& h, std::span<const float> freq_factors) {
  const int n_pairs = h.rope_dims / 2;
  attention::RopeTable table{.style = h.architecture->rope_style,
                             .n_dims = h.rope_dims,
                             .inverse_frequency = {},
                             .magnitude = h.rope_attention_factor};
  const bool yarn = h.rope_scaling == RopeScaling::yarn;
  if (yarn && h.rope_factor > 1.0f) table.magnitude *= 1.0f + 0.1f * std::log(h.rope_factor);
  for (size_t section = 0; section < h.rope_sections.size(); ++section)
    table.section.insert(table.section.end(), static_cast<size_t>(h.rope_sections[section]),
                         static_cast<uint8_t>(section));
  table.inverse_frequency.reserve(static_cast<size_t>(n_pairs));
  for (int pair = 0; pair < n_pairs; ++pair) {
    double trained = std::pow(static_cast<double>(h.rope_base), -2.0 * pair / h.rope_dims);
    if (!freq_factors.empty()) trained /= static_cast<double>(freq_factors[static_cast<size_t>(pair)]);
    const double keep = yarn ? yarn_keep(h, pair) : 0.0;
    table.inverse_frequency.push_back(
        static_cast<float>(trained * keep + trained / static_cast<double>(h.rope_factor) * (1.0 - keep)));
  }
  return table;
}

attention::RopeTable make_local_rope(const HParams& h) {
  HParams local = h;
  local.rope_base = h.local_rope_base;
  local.rope_scaling = RopeScaling::none;
  local.rope_factor = 1.0f;
  return make_rope(local, {});
}

attention::RopeTable read_rope(const HParams& h, TensorReader& tensors) {
  const std::optional<Tensor> factors = tensors.take_optional("rope_freqs.weight", {h.rope_dims / 2});
  if (!factors) return make_rope(h, {});
  for (const float factor : factors->f32()) {
    if (!std::isfinite(factor) || factor == 0) {
      throw Error{
          Code::invalid_model,
          fmt::format("tensor 'rope_freqs.weight' holds {}; finite factors other than 0 were expected",
                      factor)};
    }
  }
  return make_rope(h, factors->f32());
}

}  // namespace fastcache::model
