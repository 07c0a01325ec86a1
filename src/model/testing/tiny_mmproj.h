// SPDX-License-Identifier: Apache-2.0
// Writes small random vision encoders as mmproj GGUF files that libmtmd loads, one for each kind of
// projector.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fastcache::model::test_support {

struct TinyMmproj {
  std::string projector = "mlp";  // mlp, idefics3, gemma3, qwen2vl_merger
  int text_width = 64;            // of the language model's embeddings
  int n_layers = 2;
  int n_embd = 32;
  int n_ff = 48;
  int n_heads = 2;
  int image_size = 32;  // pixels a side; multiple of 2 * patch_size
  int patch_size = 8;
  int longest_edge = 64;            // idefics3: pictures are tiles of image_size up to that
  bool class_token = true;          // mlp: as CLIP has it
  std::string missing_tensor = {};  // left out: a broken file
  uint64_t seed = 1;
};

// Overwrites path.
void write_tiny_mmproj(const std::filesystem::path& path, const TinyMmproj& mmproj);

// The control tokens that projectors look up in the text model's vocabulary: for TinyModel::control_tokens.
std::vector<std::string> picture_markers();

}  // namespace fastcache::model::test_support
