// SPDX-License-Identifier: Apache-2.0
// libllama as the judge of our graph: the same file, the same tokens, all logits.
#pragma once

#include <ggml.h>
#include <llama.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace fastcache::model::test_support {

struct OracleOptions {
  int n_ctx = 4096;  // positions there is room for
  ggml_type kv_type = GGML_TYPE_F32;
  bool flash_attention = false;
  bool repack = true;  // libllama's own weight layouts, as its users have them
  int n_threads = 2;
  int chunk = 512;        // tokens per llama_decode
  std::string lora = {};  // path of an adapter for all tokens; empty: none
};

class LlamaOracle {
 public:
  // Throws std::runtime_error with libllama's reason.
  explicit LlamaOracle(const std::string& path, OracleOptions options = {});

  int n_vocab() const;

  // Evaluates one sequence from position 0 on. Calls chunk(first_position, logits [n, n_vocab]) in order; the
  // logits are libllama's memory, valid during the call.
  using OnChunk = std::function<void(int first_position, std::span<const float> logits)>;
  void evaluate(std::span<const int32_t> tokens, const OnChunk& chunk);

  // [tokens.size(), n_vocab]: for small models.
  std::vector<float> logits(std::span<const int32_t> tokens);
  // The same where the tokens [begin, end) see each other both ways. At most `chunk` of them.
  std::vector<float> logits_with_span(std::span<const int32_t> tokens, size_t begin, size_t end);

 private:
  // Tokens [first, end), behind those before them; libllama's memory.
  std::span<const float> decode(std::span<const int32_t> tokens, size_t first, size_t end);
  struct DeleteModel {
    void operator()(llama_model* model) const { llama_model_free(model); }
  };
  struct DeleteContext {
    void operator()(llama_context* context) const { llama_free(context); }
  };
  OracleOptions options_;
  std::unique_ptr<llama_model, DeleteModel> model_;
  struct DeleteAdapter {
    void operator()(llama_adapter_lora* adapter) const { llama_adapter_lora_free(adapter); }
  };
  std::unique_ptr<llama_adapter_lora, DeleteAdapter> adapter_;
  std::unique_ptr<llama_context, DeleteContext> context_;
};

// The same model with every tensor in f32: the reference that quantisation is measured against. Tensor by
// tensor, so that memory stays small; overwrites path_out.
void dequantise_to_f32(const std::string& path_in, const std::string& path_out);

// The same once per user: kept in <cache>/testing under the model's name, made again when that is newer. Safe
// when tests run in parallel.
std::string model_in_f32(const std::filesystem::path& model);
std::string embedded_model_f32();  // of default_model(), 540 MB

}  // namespace fastcache::model::test_support
