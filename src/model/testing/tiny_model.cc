// SPDX-License-Identifier: Apache-2.0
#include "model/testing/tiny_model.h"

#include <gguf.h>
#include <spdlog/fmt/fmt.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>

namespace fastcache::model::test_support {
namespace {

namespace fs = std::filesystem;

using Gguf = std::unique_ptr<gguf_context, decltype(&gguf_free)>;
using GgmlContext = std::unique_ptr<ggml_context, decltype(&ggml_free)>;

void write_hyperparameters(gguf_context* out, const TinyModel& m) {
  const auto key = [&](const char* name) { return m.architecture + "." + name; };
  const auto integer = [&](const char* name, int value) {
    gguf_set_val_u32(out, key(name).c_str(), static_cast<uint32_t>(value));
  };
  gguf_set_val_str(out, "general.architecture", m.architecture.c_str());
  gguf_set_val_str(out, "general.name", "tiny");
  integer("block_count", m.n_layers);
  integer("context_length", m.context_length);
  integer("embedding_length", m.n_embd);
  integer("feed_forward_length", m.n_ff);
  integer("attention.head_count", m.n_heads);
  integer("attention.head_count_kv", m.n_kv_heads);
  integer("attention.key_length", m.head_dim);
  integer("attention.value_length", m.head_dim);
  integer("rope.dimension_count", m.head_dim);
  gguf_set_val_f32(out, key("rope.freq_base").c_str(), m.rope_base);
  gguf_set_val_f32(out, key("attention.layer_norm_rms_epsilon").c_str(), m.rms_eps);
  if (m.sliding_window > 0) integer("attention.sliding_window", m.sliding_window);
  if (m.window_pattern > 0) integer("attention.sliding_window_pattern", m.window_pattern);
  if (m.local_rope_base > 0) gguf_set_val_f32(out, key("rope.freq_base_swa").c_str(), m.local_rope_base);
  if (!m.rope_sections.empty())
    gguf_set_arr_data(out, key("rope.dimension_sections").c_str(), GGUF_TYPE_INT32, m.rope_sections.data(),
                      m.rope_sections.size());
  if (m.rope_scaling.empty()) return;
  gguf_set_val_str(out, key("rope.scaling.type").c_str(), m.rope_scaling.c_str());
  gguf_set_val_f32(out, key("rope.scaling.factor").c_str(), m.rope_factor);
  if (m.rope_original_context > 0) integer("rope.scaling.original_context_length", m.rope_original_context);
}

// What libllama's SentencePiece loader needs: unknown, BOS, EOS, all bytes, a space, and some words.
void write_synthetic_vocab(gguf_context* out, const TinyModel& m) {
  enum Type : int32_t { normal = 1, unknown = 2, control = 3, byte = 6 };
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {unknown, control, control};
  for (int i = 0; i < 256; ++i) {
    tokens.push_back(fmt::format("<0x{:02X}>", i));
    types.push_back(byte);
  }
  tokens.push_back("\xE2\x96\x81");  // the space
  types.push_back(normal);
  for (const std::string& text : m.control_tokens) {
    tokens.push_back(text);
    types.push_back(control);
  }
  const size_t n_special = tokens.size();
  while (tokens.size() < static_cast<size_t>(m.n_vocab)) {
    const auto i = tokens.size() - n_special;
    tokens.push_back(i < 26 ? std::string(1, static_cast<char>('a' + i)) : fmt::format("\xE2\x96\x81w{}", i));
    types.push_back(normal);
  }
  std::vector<float> scores(tokens.size(), 0.0f);
  for (size_t i = 259; i < scores.size(); ++i) scores[i] = -static_cast<float>(i);
  std::vector<const char*> texts;
  for (const std::string& token : tokens) texts.push_back(token.c_str());
  gguf_set_val_str(out, "tokenizer.ggml.model", "llama");
  gguf_set_arr_str(out, "tokenizer.ggml.tokens", texts.data(), texts.size());
  gguf_set_arr_data(out, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(), scores.size());
  gguf_set_arr_data(out, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(), types.size());
  gguf_set_val_u32(out, "tokenizer.ggml.unknown_token_id", 0);
  gguf_set_val_u32(out, "tokenizer.ggml.bos_token_id", 1);
  gguf_set_val_u32(out, "tokenizer.ggml.eos_token_id", 2);
  if (!m.chat_template.empty()) gguf_set_val_str(out, "tokenizer.chat_template", m.chat_template.c_str());
}

// Copies all keys, then removes what is not the tokenizer's: gguf has no way to copy a single one. Returns
// its size.
int copy_vocab(gguf_context* out, const std::string& path) {
  const Gguf from(gguf_init_from_file(path.c_str(), {.no_alloc = true, .ctx = nullptr}), gguf_free);
  if (!from) throw std::runtime_error("cannot read " + path);
  gguf_set_kv(out, from.get());
  for (int64_t i = 0; i < gguf_get_n_kv(from.get()); ++i) {
    const char* key = gguf_get_key(from.get(), i);
    if (std::strncmp(key, "tokenizer.", 10) != 0) gguf_remove_key(out, key);
  }
  return static_cast<int>(gguf_get_arr_n(from.get(), gguf_find_key(from.get(), "tokenizer.ggml.tokens")));
}

class TensorWriter {
 public:
  TensorWriter(gguf_context* out, uint64_t seed, size_t bytes)
      : out_(out),
        random_(seed),
        context_(ggml_init({.mem_size = bytes, .mem_buffer = nullptr, .no_alloc = false}), ggml_free) {}

  // nan_row: one of the n_out, or -1.
  void matrix(const std::string& name, ggml_type type, int n_in, int n_out, float deviation,
              int nan_row = -1) {
    std::vector<float> values(static_cast<size_t>(n_in) * static_cast<size_t>(n_out));
    std::normal_distribution<float> normal(0.0f, deviation);
    for (float& value : values) value = normal(random_);
    if (nan_row >= 0)
      std::fill_n(values.begin() + static_cast<ptrdiff_t>(nan_row) * n_in, n_in, std::nanf(""));
    ggml_tensor* tensor = ggml_new_tensor_2d(context_.get(), type, n_in, n_out);
    ggml_quantize_chunk(type, values.data(), tensor->data, 0, n_out, n_in, nullptr);
    add(tensor, name);
  }

  void vector(const std::string& name, int n, const std::function<float(int)>& value) {
    ggml_tensor* tensor = ggml_new_tensor_1d(context_.get(), GGML_TYPE_F32, n);
    for (int i = 0; i < n; ++i) static_cast<float*>(tensor->data)[i] = value(i);
    add(tensor, name);
  }

  float noise(float deviation) { return std::normal_distribution<float>(0.0f, deviation)(random_); }

 private:
  void add(ggml_tensor* tensor, const std::string& name) {
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(out_, tensor);
  }

  gguf_context* out_;
  std::mt19937_64 random_;
  GgmlContext context_;
};

// The factors that Llama 3.1 divides its frequencies by: factor 8, low 1, high 4, trained on 8192 positions.
float llama3_factor(const TinyModel& m, int pair) {
  const double wavelength = 2 * M_PI * std::pow(static_cast<double>(m.rope_base), 2.0 * pair / m.head_dim);
  const double smooth = (8192 / wavelength - 1) / 3;
  if (smooth >= 1) return 1.0f;
  if (smooth <= 0) return 8.0f;
  return static_cast<float>(1 / ((1 - smooth) / 8 + smooth));
}

void write_layer(TensorWriter& out, const TinyModel& m, int layer) {
  const std::string prefix = fmt::format("blk.{}.", layer);
  const auto norm = [&](int /*i*/) { return 1.0f + out.noise(0.1f); };
  const auto bias = [&](int /*i*/) { return out.noise(0.2f); };
  const auto matrix = [&](const char* name, int n_in, int n_out, float scale = 1.0f) {
    out.matrix(prefix + name + ".weight", m.type, n_in, n_out, scale / std::sqrt(static_cast<float>(n_in)));
  };
  const int q = m.n_heads * m.head_dim;
  const int kv = m.n_kv_heads * m.head_dim;
  out.vector(prefix + "attn_norm.weight", m.n_embd, norm);
  matrix("attn_q", m.n_embd, q);
  matrix("attn_k", m.n_embd, kv);
  matrix("attn_v", m.n_embd, kv);
  matrix("attn_output", q, m.n_embd);
  if (m.qkv_bias) {
    out.vector(prefix + "attn_q.bias", q, bias);
    out.vector(prefix + "attn_k.bias", kv, bias);
    out.vector(prefix + "attn_v.bias", kv, bias);
  }
  if (m.qk_norm) {
    out.vector(prefix + "attn_q_norm.weight", m.head_dim, norm);
    out.vector(prefix + "attn_k_norm.weight", m.head_dim, norm);
  }
  if (m.post_norms) {
    out.vector(prefix + "post_attention_norm.weight", m.n_embd, norm);
    out.vector(prefix + "post_ffw_norm.weight", m.n_embd, norm);
  }
  out.vector(prefix + "ffn_norm.weight", m.n_embd, norm);
  matrix("ffn_gate", m.n_embd, m.n_ff, m.gate_scale);
  matrix("ffn_up", m.n_embd, m.n_ff);
  matrix("ffn_down", m.n_ff, m.n_embd);
}

// An upper bound of what ggml needs: all weights in f32 and room for its own records.
size_t bytes_needed(const TinyModel& m, int n_vocab) {
  const size_t embd = static_cast<size_t>(m.n_embd);
  const size_t attention =
      embd * static_cast<size_t>(m.head_dim) * static_cast<size_t>(2 * m.n_heads + 2 * m.n_kv_heads);
  const size_t layer = attention + 3 * embd * static_cast<size_t>(m.n_ff) + 16 * embd + 4096;
  return 4 * (static_cast<size_t>(m.n_layers) * layer + 2 * embd * static_cast<size_t>(n_vocab)) +
         (size_t{1} << 20);
}

}  // namespace

void write_tiny_model(const fs::path& path, const TinyModel& m) {
  const Gguf out(gguf_init_empty(), gguf_free);
  int n_vocab = m.n_vocab;
  if (m.vocab_from.empty())
    write_synthetic_vocab(out.get(), m);
  else
    n_vocab = copy_vocab(out.get(), m.vocab_from);
  write_hyperparameters(out.get(), m);

  TensorWriter tensors(out.get(), m.seed, bytes_needed(m, n_vocab));
  const float spread = 2.0f / std::sqrt(static_cast<float>(m.n_embd));  // logits of a plausible range
  const ggml_type embedding = m.embedding_type == GGML_TYPE_COUNT ? m.type : m.embedding_type;
  tensors.matrix("token_embd.weight", embedding, m.n_embd, n_vocab, spread, m.damaged_token);
  for (int layer = 0; layer < m.n_layers; ++layer) write_layer(tensors, m, layer);
  tensors.vector("output_norm.weight", m.n_embd, [&](int /*i*/) { return 1.0f + tensors.noise(0.1f); });
  if (!m.tied) tensors.matrix("output.weight", embedding, m.n_embd, n_vocab, spread);
  if (m.llama3_rope)
    tensors.vector("rope_freqs.weight", m.head_dim / 2, [&](int i) { return llama3_factor(m, i); });
  if (!gguf_write_to_file(out.get(), path.c_str(), false))
    throw std::runtime_error("cannot write " + path.string());
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "fastcache_test_XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace fastcache::model::test_support
