// SPDX-License-Identifier: Apache-2.0
// Writes small random GGUF files of the architectures that have a graph, so that tests compare every variant
// of the graph with libllama in milliseconds.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fastcache::model::test_support {

struct TinyModel {
  int n_layers = 2;
  int n_embd = 64;
  int n_ff = 128;
  int n_heads = 4;
  int n_kv_heads = 2;
  int head_dim = 16;  // key_length; need not be n_embd / n_heads
  int n_vocab = 320;  // synthetic vocabulary: at least 260
  int context_length = 4096;
  ggml_type type = GGML_TYPE_F32;  // of the matrices; widths must be multiples of its block. Norms are f32.
  ggml_type embedding_type = GGML_TYPE_COUNT;  // COUNT: like type
  bool tied = true;                            // no output.weight
  bool qkv_bias = false;
  bool qk_norm = false;     // of each head of q and k
  bool post_norms = false;  // behind attention and feed-forward
  float gate_scale =
      1.0f;                // on the gates' weights: where it is large, GELU is x or 0, which all know exactly
  int sliding_window = 0;  // of local layers; 0: the key is not written
  int window_pattern = 0;  // of so many layers the last is global; 0: the key is not written
  float local_rope_base = 0;                // 0: the key is not written
  std::vector<int32_t> rope_sections = {};  // M-RoPE; empty: the key is not written
  float rms_eps = 1e-5f;
  float rope_base = 10000.0f;
  std::string rope_scaling = {};  // "", "none", "linear", "yarn"
  float rope_factor = 1.0f;
  int rope_original_context = 0;
  bool llama3_rope = false;        // rope_freqs.weight, as Llama 3.1 has it
  std::string vocab_from = {};     // a GGUF file to copy vocabulary and chat template of; sets n_vocab
  std::string chat_template = {};  // of the synthetic vocabulary; empty: none
  std::vector<std::string> control_tokens = {};  // more of them, of the synthetic vocabulary
  std::string architecture = "llama";            // prefix of all keys
  int damaged_token = -1;  // its embedding is NaN; an output matrix of its own keeps logits finite
  uint64_t seed = 1;
};

// Overwrites path. Synthetic vocabulary: SentencePiece with <unk> <s> </s>, the 256 byte tokens from 3 on,
// then words.
void write_tiny_model(const std::filesystem::path& path, const TinyModel& model);

// A folder of its own for one test, removed with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace fastcache::model::test_support
