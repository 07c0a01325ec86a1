// SPDX-License-Identifier: Apache-2.0
#include "model/hparams.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/hparams_keys.h"
#include "model/utf8.h"

namespace fastcache::model {
namespace {

constexpr Architecture kArchitectures[] = {
    {"llama", attention::RopeStyle::adjacent, "Llama 2 and 3, SmolLM2, Mistral"},
    {"qwen2", attention::RopeStyle::halves, "Qwen2, Qwen2.5"},
    {"qwen2vl", attention::RopeStyle::halves, "Qwen2-VL, Qwen2.5-VL"},
    {"qwen3", attention::RopeStyle::halves, "Qwen3, dense"},
    {"gemma3", attention::RopeStyle::halves, "Gemma 3"},
};

void refuse_unsupported_features(const GgufFile& file, const Keys& keys) {
  if (const int experts = keys.integer_or("expert_count", 0, 0, kMaxWidth); experts > 0) {
    keys.unsupported(
        fmt::format("the model is a mixture of {} experts; only dense models are supported", experts));
  }
  if (!file.boolean_or(keys.path("attention.causal"), true)) {
    keys.unsupported("the model attends in both directions (an encoder); only causal models are supported");
  }
}

// Caps of scores and logits: no graph here has them, and without them the answers would be others.
void refuse_softcaps(const Keys& keys) {
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (keys.real_or(key, 0) > 0)
      keys.unsupported(fmt::format("'{}' is set; soft-capped logits are not supported", keys.path(key)));
  }
}

void read_attention(const Keys& keys, HParams* h) {
  h->n_heads = keys.same_in_all_layers("attention.head_count", 0, h->n_layers, 4096);
  h->n_kv_heads = keys.same_in_all_layers("attention.head_count_kv", h->n_heads, h->n_layers, 4096);
  if (h->n_kv_heads > h->n_heads || h->n_heads % h->n_kv_heads != 0) {
    keys.fail(fmt::format("{} query heads cannot share {} KV heads evenly; '{}' must divide '{}'", h->n_heads,
                          h->n_kv_heads, keys.path("attention.head_count_kv"),
                          keys.path("attention.head_count")));
  }
  if (!keys.has("attention.key_length") && h->n_embd % h->n_heads != 0) {
    keys.fail(fmt::format("the width {} is no multiple of {} heads, and '{}' is missing", h->n_embd,
                          h->n_heads, keys.path("attention.key_length")));
  }
  h->head_dim = keys.integer_or("attention.key_length", h->n_embd / h->n_heads, 1, 4096);
  const int value_dim = keys.integer_or("attention.value_length", h->head_dim, 1, 4096);
  if (value_dim != h->head_dim) {
    keys.unsupported(fmt::format("keys have {} channels and values {}; only equal sizes are supported",
                                 h->head_dim, value_dim));
  }
  if (h->head_dim % 16 != 0 || h->head_dim > 512) {
    keys.unsupported(
        fmt::format("heads have {} channels; multiples of 16 up to 512 are supported", h->head_dim));
  }
  refuse_softcaps(keys);
  h->attention_scale = keys.real_or("attention.scale", 0);
  if (h->attention_scale == 0) h->attention_scale = 1.0f / std::sqrt(static_cast<float>(h->head_dim));
}

RopeScaling scaling_type(const GgufFile& file, const Keys& keys) {
  const std::string_view type = file.string_or(keys.path("rope.scaling.type"), "linear");
  if (type == "none") return RopeScaling::none;
  if (type == "linear") return RopeScaling::linear;
  if (type == "yarn") return RopeScaling::yarn;
  keys.unsupported(fmt::format("RoPE scaling '{}' is not supported; none, linear and yarn are", type));
}

void read_rope_keys(const GgufFile& file, const Keys& keys, HParams* h) {
  h->rope_dims = keys.integer_or("rope.dimension_count", h->head_dim, 2, 4096);
  if (h->rope_dims % 2 != 0 || h->rope_dims > h->head_dim) {
    keys.fail(fmt::format("'{}' is {}; an even number up to {} was expected",
                          keys.path("rope.dimension_count"), h->rope_dims, h->head_dim));
  }
  h->rope_base = keys.real_or("rope.freq_base", 10000.0f);
  if (!(h->rope_base > 1.0f))
    keys.fail(
        fmt::format("'{}' is {}; a number above 1 was expected", keys.path("rope.freq_base"), h->rope_base));
  h->rope_scaling = scaling_type(file, keys);
  // rope.scale_linear is what old converters wrote. Zero means none.
  h->rope_factor = keys.real_or("rope.scaling.factor", keys.real_or("rope.scale_linear", 0));
  if (h->rope_factor == 0 || h->rope_scaling == RopeScaling::none) h->rope_factor = 1.0f;
  if (!(h->rope_factor > 0))
    keys.fail(fmt::format("'{}' is {}; a positive number was expected", keys.path("rope.scaling.factor"),
                          h->rope_factor));
  if (h->rope_scaling == RopeScaling::linear && h->rope_factor == 1.0f) h->rope_scaling = RopeScaling::none;
  h->rope_original_context =
      keys.integer_or("rope.scaling.original_context_length", h->context_length, 0, INT32_MAX);
  if (h->rope_original_context == 0) h->rope_original_context = h->context_length;
  h->rope_attention_factor = keys.real_or("rope.scaling.attn_factor", 1.0f);
  h->yarn_beta_fast = keys.real_or("rope.scaling.yarn_beta_fast", 32.0f);
  h->yarn_beta_slow = keys.real_or("rope.scaling.yarn_beta_slow", 1.0f);
  if (!(h->yarn_beta_fast > 0) || !(h->yarn_beta_slow > 0))
    keys.fail("YaRN's beta_fast and beta_slow must be positive");
}

int vocabulary_size(const GgufFile& file, const Keys& keys) {
  const uint64_t n = file.array_length("tokenizer.ggml.tokens");
  if (n == 0) return keys.integer("vocab_size", 1, 1 << 24);
  if (n > 1 << 24)
    keys.fail(fmt::format("'tokenizer.ggml.tokens' has {} tokens; at most {} are supported", n, 1 << 24));
  return static_cast<int>(n);
}

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture& find_architecture(const GgufFile& file) {
  const std::string_view name = file.string("general.architecture");
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    if (name == architecture.name) return architecture;
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", architecture.name, architecture.models);
  }
  throw Error{Code::unsupported, fmt::format("{}: architecture '{}' is not supported; supported: {}",
                                             file.path(), displayable(name), known)};
}

HParams read_hparams(const GgufFile& file) {
  HParams h;
  h.architecture = &find_architecture(file);
  h.name = displayable(file.string_or("general.name", ""));
  const Keys keys(file, h.architecture->name);
  refuse_unsupported_features(file, keys);
  h.n_layers = keys.integer("block_count", 1, 1024);
  h.n_embd = keys.integer("embedding_length", 1, kMaxWidth);
  keys.check_multiple("embedding_length", h.n_embd, 32);
  h.n_ff = keys.same_in_all_layers("feed_forward_length", 0, h.n_layers, kMaxWidth);
  keys.check_multiple("feed_forward_length", h.n_ff, 32);
  h.context_length = keys.integer("context_length", 1, INT32_MAX);
  h.n_vocab = vocabulary_size(file, keys);
  h.rms_eps = keys.real("attention.layer_norm_rms_epsilon");
  if (!(h.rms_eps >= 0 && h.rms_eps < 1))
    keys.fail(fmt::format("'{}' is {}; a value from 0 to 1 was expected",
                          keys.path("attention.layer_norm_rms_epsilon"), h.rms_eps));
  read_attention(keys, &h);
  keys.check_multiple("attention.key_length * head_count", h.n_heads * h.head_dim, 32);
  read_rope_keys(file, keys, &h);
  read_family_keys(file, keys, &h);
  return h;
}

}  // namespace fastcache::model
