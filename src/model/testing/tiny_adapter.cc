// SPDX-License-Identifier: Apache-2.0
#include "model/testing/tiny_adapter.h"

#include <gguf.h>
#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <memory>
#include <random>
#include <stdexcept>

namespace fastcache::model::test_support {
namespace {

using Gguf = std::unique_ptr<gguf_context, decltype(&gguf_free)>;
using GgmlContext = std::unique_ptr<ggml_context, decltype(&ggml_free)>;

struct Shape {
  int n_in = 0, n_out = 0;
};

Shape shape_of(const TinyModel& m, const std::string& part) {
  const int q = m.n_heads * m.head_dim, kv = m.n_kv_heads * m.head_dim;
  if (part == "attn_q") return {m.n_embd, q};
  if (part == "attn_k" || part == "attn_v") return {m.n_embd, kv};
  if (part == "attn_output") return {q, m.n_embd};
  if (part == "ffn_down") return {m.n_ff, m.n_embd};
  return {m.n_embd, m.n_ff};
}

size_t bytes_needed(const TinyModel& m, const TinyAdapter& adapter) {
  size_t numbers = 0;
  for (const std::string& part : adapter.parts) {
    const Shape shape = shape_of(m, part);
    numbers += static_cast<size_t>((shape.n_in + shape.n_out) * adapter.rank);
  }
  const size_t n_tensors = 2 * adapter.parts.size() * static_cast<size_t>(m.n_layers) + 1;
  return 4 * (static_cast<size_t>(m.n_layers) + 1) * numbers + n_tensors * (ggml_tensor_overhead() + 64) +
         4096;
}

class Writer {
 public:
  Writer(const TinyAdapter& adapter, size_t bytes)
      : adapter_(adapter),
        random_(adapter.seed),
        out_(gguf_init_empty(), gguf_free),
        context_(ggml_init({.mem_size = bytes, .mem_buffer = nullptr, .no_alloc = false}), ggml_free) {}

  gguf_context* gguf() { return out_.get(); }

  void matrix(const std::string& name, int n_in, int n_out, float deviation) {
    if (name == adapter_.left_out) return;
    std::vector<float> values(static_cast<size_t>(n_in) * static_cast<size_t>(n_out));
    std::normal_distribution<float> normal(0.0f, deviation);
    for (float& value : values) value = normal(random_);
    ggml_tensor* tensor = ggml_new_tensor_2d(context_.get(), adapter_.type, n_in, n_out);
    ggml_quantize_chunk(adapter_.type, values.data(), tensor->data, 0, n_out, n_in, nullptr);
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(out_.get(), tensor);
    last_ = tensor;
  }

  void write(const std::filesystem::path& path) {
    if (adapter_.first_number != 0 && last_ != nullptr)
      ggml_quantize_chunk(adapter_.type,
                          std::vector<float>(static_cast<size_t>(last_->ne[0]), adapter_.first_number).data(),
                          last_->data, 0, 1, last_->ne[0], nullptr);
    if (!gguf_write_to_file(out_.get(), path.c_str(), false))
      throw std::runtime_error("cannot write " + path.string());
  }

 private:
  const TinyAdapter& adapter_;
  std::mt19937_64 random_;
  Gguf out_;
  GgmlContext context_;
  ggml_tensor* last_ = nullptr;
};

}  // namespace

void write_tiny_adapter(const std::filesystem::path& path, const TinyModel& model,
                        const TinyAdapter& adapter) {
  Writer out(adapter, bytes_needed(model, adapter));
  gguf_set_val_str(out.gguf(), "general.architecture",
                   (adapter.architecture.empty() ? model.architecture : adapter.architecture).c_str());
  gguf_set_val_str(out.gguf(), "general.type", adapter.general_type.c_str());
  gguf_set_val_str(out.gguf(), "adapter.type", adapter.adapter_type.c_str());
  if (adapter.alpha) gguf_set_val_f32(out.gguf(), "adapter.lora.alpha", *adapter.alpha);
  for (int layer = 0; layer < model.n_layers; ++layer) {
    for (const std::string& part : adapter.parts) {
      const Shape shape = shape_of(model, part);
      const std::string name = fmt::format("blk.{}.{}.weight", layer, part);
      out.matrix(name + ".lora_a", shape.n_in, adapter.rank, 1 / std::sqrt(static_cast<float>(shape.n_in)));
      out.matrix(name + ".lora_b", adapter.rank, shape.n_out,
                 adapter.deviation / std::sqrt(static_cast<float>(adapter.rank)));
    }
  }
  if (!adapter.more.empty()) out.matrix(adapter.more, model.n_embd, adapter.rank, 1.0f);
  out.write(path);
}

}  // namespace fastcache::model::test_support
