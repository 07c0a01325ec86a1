// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/hparams_keys.h"

namespace fastcache::model {
namespace {

constexpr int kGemma3Pattern = 6;         // of so many layers the last sees everything
constexpr float kGemma3LocalBase = 1e4f;  // where the file does not say it
constexpr int kGemma3LargestLayers = 62;  // of the 27B model, whose queries have a scale of their own

// One number n: of n layers the last is global. Or one flag for each layer.
std::vector<bool> read_local_layers(const GgufFile& file, const Keys& keys, int n_layers) {
  const std::string key = keys.path("attention.sliding_window_pattern");
  std::vector<bool> local = file.booleans(key);
  if (local.size() > 1 && local.size() != static_cast<size_t>(n_layers))
    keys.fail(fmt::format("key '{}' has {} values; 1 or one for each of {} layers was expected", key,
                          local.size(), n_layers));
  if (local.size() > 1) return local;
  const int pattern = keys.integer_or("attention.sliding_window_pattern", kGemma3Pattern, 0, kMaxWidth);
  local.resize(static_cast<size_t>(n_layers));
  for (int layer = 0; layer < n_layers; ++layer)
    local[static_cast<size_t>(layer)] = pattern == 0 || layer % pattern < pattern - 1;
  return local;
}

void read_gemma3(const GgufFile& file, const Keys& keys, HParams* h) {
  h->embedding_scale = std::sqrt(static_cast<float>(h->n_embd));
  if (h->n_layers == kGemma3LargestLayers && !keys.has("attention.scale"))
    h->attention_scale = 1.0f / std::sqrt(static_cast<float>(h->n_embd / h->n_heads));
  if (h->rope_scaling == RopeScaling::yarn)
    keys.unsupported("YaRN is not supported beside local layers; the RoPE scalings none and linear are");
  h->sliding_window = keys.integer_or("attention.sliding_window", 0, 0, INT32_MAX);
  if (h->sliding_window == 0) return;
  h->local_layers = read_local_layers(file, keys, h->n_layers);
  if (std::ranges::count(h->local_layers, true) == 0) h->local_layers.clear();
  h->local_rope_base = keys.real_or("rope.freq_base_swa", kGemma3LocalBase);
  if (!(h->local_rope_base > 1.0f))
    keys.fail(fmt::format("'{}' is {}; a number above 1 was expected", keys.path("rope.freq_base_swa"),
                          h->local_rope_base));
}

// M-RoPE: how many pairs of channels each of a token's positions turns.
void read_sections(const GgufFile& file, const Keys& keys, HParams* h) {
  const std::string key = keys.path("rope.dimension_sections");
  const std::vector<int64_t> sections = file.integers(key, 0, 4096);
  if (sections.size() < 3 || sections.size() > 4)
    keys.fail(fmt::format("key '{}' has {} values; 3 or 4 were expected", key, sections.size()));
  if (sections.size() == 4 && sections[3] != 0)
    keys.unsupported(fmt::format("'{}' has a fourth section; models with three are supported", key));
  const int64_t n_pairs = std::accumulate(sections.begin(), sections.end(), int64_t{0});
  if (n_pairs != h->rope_dims / 2)
    keys.fail(fmt::format("the sections of '{}' have {} pairs of channels; {} were expected", key, n_pairs,
                          h->rope_dims / 2));
  std::copy(sections.begin(), sections.end(), h->rope_sections.begin());
}

}  // namespace

void read_family_keys(const GgufFile& file, const Keys& keys, HParams* h) {
  const std::string_view name = h->architecture->name;
  if (name == "gemma3") read_gemma3(file, keys, h);
  if (name == "qwen2vl") read_sections(file, keys, h);
}

}  // namespace fastcache::model
