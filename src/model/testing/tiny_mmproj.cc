// SPDX-License-Identifier: Apache-2.0
#include "model/testing/tiny_mmproj.h"

#include <ggml.h>
#include <gguf.h>
#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <initializer_list>
#include <memory>
#include <random>
#include <stdexcept>

namespace fastcache::model::test_support {
namespace {

using Gguf = std::unique_ptr<gguf_context, decltype(&gguf_free)>;
using GgmlContext = std::unique_ptr<ggml_context, decltype(&ggml_free)>;

// An upper bound of what ggml needs: all weights in f32 and room for its own records.
size_t bytes_needed(const TinyMmproj& m) {
  const auto embd = static_cast<size_t>(m.n_embd), ff = static_cast<size_t>(m.n_ff);
  const auto width = static_cast<size_t>(m.text_width);
  const auto n_patches = static_cast<size_t>(m.image_size / m.patch_size * (m.image_size / m.patch_size) + 1);
  const auto patch = static_cast<size_t>(m.patch_size * m.patch_size);
  const size_t layer = 4 * embd * embd + 2 * embd * ff + 16 * embd + ff;
  const size_t projector = 16 * embd * embd + 4 * embd * width + width * width;
  return sizeof(float) *
             (static_cast<size_t>(m.n_layers) * layer + projector + embd * (n_patches + 6 * patch)) +
         (size_t{1} << 20);
}

class Writer {
 public:
  Writer(gguf_context* out, const TinyMmproj& m)
      : out_(out),
        m_(m),
        random_(m.seed),
        context_(ggml_init({.mem_size = bytes_needed(m), .mem_buffer = nullptr, .no_alloc = false}),
                 ggml_free) {}

  void random(const std::string& name, std::initializer_list<int64_t> dims, float deviation, float mean = 0) {
    ggml_tensor* tensor =
        ggml_new_tensor(context_.get(), GGML_TYPE_F32, static_cast<int>(dims.size()), dims.begin());
    std::normal_distribution<float> normal(mean, deviation);
    for (int64_t i = 0; i < ggml_nelements(tensor); ++i)
      static_cast<float*>(tensor->data)[i] = normal(random_);
    ggml_set_name(tensor, name.c_str());
    if (name != m_.missing_tensor) gguf_add_tensor(out_, tensor);
  }

  void norm(const std::string& name, int64_t n) {
    random(name + ".weight", {n}, 0.1f, 1.0f);
    random(name + ".bias", {n}, 0.1f);
  }

  void linear(const std::string& name, int64_t n_in, int64_t n_out, bool bias = true) {
    random(name + ".weight", {n_in, n_out}, 1.0f / std::sqrt(static_cast<float>(n_in)));
    if (bias) random(name + ".bias", {n_out}, 0.1f);
  }

 private:
  gguf_context* out_;
  const TinyMmproj& m_;
  std::mt19937_64 random_;
  GgmlContext context_;
};

void write_keys(gguf_context* out, const TinyMmproj& m) {
  const auto integer = [&](const char* name, int value) {
    gguf_set_val_u32(out, fmt::format("clip.vision.{}", name).c_str(), static_cast<uint32_t>(value));
  };
  gguf_set_val_str(out, "general.architecture", "clip");
  gguf_set_val_str(out, "general.name", "tiny mmproj");
  gguf_set_val_bool(out, "clip.has_vision_encoder", true);
  gguf_set_val_str(out, "clip.projector_type", m.projector.c_str());
  gguf_set_val_bool(out, "clip.use_gelu", true);
  integer("image_size", m.image_size);
  integer("patch_size", m.patch_size);
  integer("embedding_length", m.n_embd);
  integer("feed_forward_length", m.n_ff);
  integer("block_count", m.n_layers);
  integer("projection_dim", m.text_width);
  integer("attention.head_count", m.n_heads);
  gguf_set_val_f32(out, "clip.vision.attention.layer_norm_epsilon", 1e-5f);
  const float half[] = {0.5f, 0.5f, 0.5f};
  gguf_set_arr_data(out, "clip.vision.image_mean", GGUF_TYPE_FLOAT32, half, 3);
  gguf_set_arr_data(out, "clip.vision.image_std", GGUF_TYPE_FLOAT32, half, 3);
  if (m.projector == "idefics3" || m.projector == "gemma3") integer("projector.scale_factor", 2);
  if (m.projector == "idefics3") integer("preproc_image_size", m.longest_edge);
}

void write_layer(Writer& out, const TinyMmproj& m, int layer) {
  const std::string prefix = fmt::format("v.blk.{}.", layer);
  out.norm(prefix + "ln1", m.n_embd);
  for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_out"})
    out.linear(prefix + name, m.n_embd, m.n_embd);
  out.norm(prefix + "ln2", m.n_embd);
  out.linear(prefix + "ffn_up", m.n_embd, m.n_ff);
  out.linear(prefix + "ffn_down", m.n_ff, m.n_embd);
}

void write_projector(Writer& out, const TinyMmproj& m) {
  const int merged = 4 * m.n_embd;  // 2 x 2 patches
  if (m.projector == "mlp") {
    out.linear("mm.0", m.n_embd, m.text_width);
    out.linear("mm.2", m.text_width, m.text_width);
  } else if (m.projector == "idefics3") {
    out.linear("mm.model.fc", merged, m.text_width, false);
  } else if (m.projector == "gemma3") {
    out.random("mm.input_projection.weight", {m.text_width, m.n_embd},
               1.0f / std::sqrt(static_cast<float>(m.n_embd)));
    out.random("mm.soft_emb_norm.weight", {m.n_embd}, 0.1f, 1.0f);
  } else if (m.projector == "qwen2vl_merger") {
    out.linear("mm.0", merged, merged);
    out.linear("mm.2", merged, m.text_width);
  }
}

}  // namespace

void write_tiny_mmproj(const std::filesystem::path& path, const TinyMmproj& m) {
  const Gguf out(gguf_init_empty(), gguf_free);
  write_keys(out.get(), m);
  Writer tensors(out.get(), m);
  const bool qwen = m.projector == "qwen2vl_merger";
  const bool class_token = m.projector == "mlp" && m.class_token;
  const int side = m.image_size / m.patch_size;
  const float spread = 1.0f / std::sqrt(static_cast<float>(3 * m.patch_size * m.patch_size));
  tensors.random("v.patch_embd.weight", {m.patch_size, m.patch_size, 3, m.n_embd}, spread);
  if (qwen) tensors.random("v.patch_embd.weight.1", {m.patch_size, m.patch_size, 3, m.n_embd}, spread);
  if (!qwen && m.projector != "mlp") tensors.random("v.patch_embd.bias", {m.n_embd}, 0.1f);
  if (class_token) tensors.random("v.class_embd", {m.n_embd}, 0.5f);
  if (!qwen) tensors.random("v.position_embd.weight", {m.n_embd, side * side + (class_token ? 1 : 0)}, 0.5f);
  if (m.projector == "mlp") tensors.norm("v.pre_ln", m.n_embd);
  for (int layer = 0; layer < m.n_layers; ++layer) write_layer(tensors, m, layer);
  if (m.projector != "mlp") tensors.norm("v.post_ln", m.n_embd);
  write_projector(tensors, m);
  if (!gguf_write_to_file(out.get(), path.c_str(), false))
    throw std::runtime_error("cannot write " + path.string());
}

std::vector<std::string> picture_markers() {
  return {"<fake_token_around_image>", "<global-img>",  "\n\n", "\n", "<start_of_image>", "<end_of_image>",
          "<|vision_start|>",          "<|vision_end|>"};
}

}  // namespace fastcache::model::test_support
