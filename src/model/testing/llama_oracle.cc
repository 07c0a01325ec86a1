// SPDX-License-Identifier: Apache-2.0
#include "model/testing/llama_oracle.h"

#include <gguf.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "model/gguf_file.h"
#include "model/libllama.h"
#include "model/models.h"

namespace fastcache::model::test_support {
namespace {

namespace fs = std::filesystem;

void write_f32(std::ofstream& out, const GgufTensor& tensor, const std::byte* data) {
  const auto row = static_cast<size_t>(tensor.dims[0]);
  const size_t n_rows = static_cast<size_t>(tensor.dims[1] * tensor.dims[2] * tensor.dims[3]);
  const ggml_to_float_t to_float = ggml_get_type_traits(tensor.type)->to_float;
  if (tensor.type != GGML_TYPE_F32 && to_float == nullptr)
    throw std::runtime_error("no way to f32 for tensor " + tensor.name);
  std::vector<float> values(row);
  for (size_t i = 0; i < n_rows; ++i) {
    const std::byte* from = data + i * ggml_row_size(tensor.type, tensor.dims[0]);
    if (tensor.type == GGML_TYPE_F32)
      std::copy_n(reinterpret_cast<const float*>(from), row, values.begin());
    else
      to_float(from, values.data(), tensor.dims[0]);
    out.write(reinterpret_cast<const char*>(values.data()),
              static_cast<std::streamsize>(row * sizeof(float)));
  }
  while (out.tellp() % GGUF_DEFAULT_ALIGNMENT != 0) out.put('\0');
}

// Keys and tensor names; the data follows behind it.
void write_f32_header(const std::string& path_in, const std::string& path_out) {
  ggml_context* tensors = nullptr;
  const std::unique_ptr<gguf_context, decltype(&gguf_free)> in(
      gguf_init_from_file(path_in.c_str(), {.no_alloc = true, .ctx = &tensors}), gguf_free);
  if (!in) throw std::runtime_error("cannot read " + path_in);
  const std::unique_ptr<ggml_context, decltype(&ggml_free)> owner(tensors, ggml_free);
  const std::unique_ptr<gguf_context, decltype(&gguf_free)> out(gguf_init_empty(), gguf_free);
  gguf_set_kv(out.get(), in.get());
  gguf_remove_key(out.get(), GGUF_KEY_GENERAL_ALIGNMENT);
  gguf_set_val_u32(out.get(), "general.file_type", LLAMA_FTYPE_ALL_F32);
  for (int64_t i = 0; i < gguf_get_n_tensors(in.get()); ++i) {
    const char* name = gguf_get_tensor_name(in.get(), i);
    gguf_add_tensor(out.get(), ggml_get_tensor(tensors, name));
    gguf_set_tensor_type(out.get(), name, GGML_TYPE_F32);
  }
  if (!gguf_write_to_file(out.get(), path_out.c_str(), true))
    throw std::runtime_error("cannot write " + path_out);
}

}  // namespace

LlamaOracle::LlamaOracle(const std::string& path, OracleOptions options) : options_(options) {
  start_llama_library();
  llama_model_params model = llama_model_default_params();
  model.n_gpu_layers = 0;
  model.use_extra_bufts = options.repack;
  model_.reset(llama_model_load_from_file(path.c_str(), model));
  if (!model_) throw std::runtime_error("libllama cannot load " + path + ": " + take_llama_error());
  llama_context_params context = llama_context_default_params();
  context.n_ctx = static_cast<uint32_t>(options.n_ctx);
  context.n_batch = context.n_ubatch = static_cast<uint32_t>(options.chunk);
  context.n_threads = context.n_threads_batch = options.n_threads;
  context.type_k = context.type_v = options.kv_type;
  context.flash_attn_type =
      options.flash_attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  context_.reset(llama_init_from_model(model_.get(), context));
  if (!context_) throw std::runtime_error("libllama cannot make a context: " + take_llama_error());
  if (options.lora.empty()) return;
  adapter_.reset(llama_adapter_lora_init(model_.get(), options.lora.c_str()));
  if (!adapter_) throw std::runtime_error("libllama cannot load " + options.lora + ": " + take_llama_error());
  llama_adapter_lora* adapter = adapter_.get();
  float scale = 1.0f;
  if (llama_set_adapters_lora(context_.get(), &adapter, 1, &scale) != 0)
    throw std::runtime_error("libllama cannot use " + options.lora + ": " + take_llama_error());
}

int LlamaOracle::n_vocab() const { return llama_vocab_n_tokens(llama_model_get_vocab(model_.get())); }

std::span<const float> LlamaOracle::decode(std::span<const int32_t> tokens, size_t first, size_t end) {
  llama_batch batch = llama_batch_init(options_.chunk, 0, 1);
  const std::unique_ptr<llama_batch, void (*)(llama_batch*)> owner(
      &batch, [](llama_batch* b) { llama_batch_free(*b); });
  batch.n_tokens = static_cast<int32_t>(end - first);
  for (int32_t i = 0; i < batch.n_tokens; ++i) {
    batch.token[i] = tokens[first + static_cast<size_t>(i)];
    batch.pos[i] = static_cast<llama_pos>(first) + i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  if (llama_decode(context_.get(), batch) != 0)
    throw std::runtime_error("llama_decode failed: " + take_llama_error());
  return {llama_get_logits(context_.get()), (end - first) * static_cast<size_t>(n_vocab())};
}

void LlamaOracle::evaluate(std::span<const int32_t> tokens, const OnChunk& chunk) {
  if (tokens.size() > static_cast<size_t>(options_.n_ctx))
    throw std::runtime_error("more tokens than OracleOptions::n_ctx");
  llama_memory_clear(llama_get_memory(context_.get()), true);
  for (size_t first = 0; first < tokens.size(); first += static_cast<size_t>(options_.chunk)) {
    const size_t end = std::min(tokens.size(), first + static_cast<size_t>(options_.chunk));
    chunk(static_cast<int>(first), decode(tokens, first, end));
  }
}

std::vector<float> LlamaOracle::logits_with_span(std::span<const int32_t> tokens, size_t begin, size_t end) {
  llama_memory_clear(llama_get_memory(context_.get()), true);
  std::vector<float> all;
  const auto append = [&](size_t first, size_t last, bool causal) {
    if (first == last) return;
    llama_set_causal_attn(context_.get(), causal);
    const std::span<const float> part = decode(tokens, first, last);
    all.insert(all.end(), part.begin(), part.end());
  };
  append(0, begin, true);
  append(begin, end, false);
  append(end, tokens.size(), true);
  llama_set_causal_attn(context_.get(), true);
  return all;
}

std::vector<float> LlamaOracle::logits(std::span<const int32_t> tokens) {
  std::vector<float> all;
  evaluate(tokens, [&](int /*first*/, std::span<const float> part) {
    all.insert(all.end(), part.begin(), part.end());
  });
  return all;
}

void dequantise_to_f32(const std::string& path_in, const std::string& path_out) {
  const MappedFile file(path_in);
  const GgufIndex index = check_gguf(file.bytes(), path_in);
  write_f32_header(path_in, path_out);
  std::ofstream out(path_out, std::ios::binary | std::ios::app | std::ios::ate);
  for (const GgufTensor& tensor : index.tensors) write_f32(out, tensor, file.bytes().data() + tensor.offset);
  if (!out.flush()) throw std::runtime_error("cannot write " + path_out);
}

std::string model_in_f32(const fs::path& from) {
  const fs::path folder = cache_folder() / "testing";
  const fs::path wanted = folder / (from.stem().string() + "-f32.gguf");
  if (fs::exists(wanted) && fs::last_write_time(wanted) >= fs::last_write_time(from)) return wanted.string();
  fs::create_directories(folder);
  // A name of our own until it is whole: no other process ever sees half a file.
  const fs::path partial = folder / ("f32." + std::to_string(getpid()) + ".partial");
  dequantise_to_f32(from.string(), partial.string());
  fs::rename(partial, wanted);
  return wanted.string();
}

std::string embedded_model_f32() { return model_in_f32(default_model()); }

}  // namespace fastcache::model::test_support
