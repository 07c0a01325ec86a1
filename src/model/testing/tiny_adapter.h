// SPDX-License-Identifier: Apache-2.0
// Writes small random LoRA adapters for the models of tiny_model.h.
#pragma once

#include <ggml.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/testing/tiny_model.h"

namespace fastcache::model::test_support {

struct TinyAdapter {
  int rank = 4;
  std::optional<float> alpha = 8.0f;  // nothing: the key is not written
  ggml_type type = GGML_TYPE_F32;     // f32, f16 or bf16
  std::vector<std::string> parts = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                    "ffn_gate", "ffn_up", "ffn_down"};
  float deviation = 0.3f;  // of B; A's is such that A x has the size of x
  uint64_t seed = 7;

  // What a test breaks.
  std::string architecture = {};  // empty: the model's
  std::string general_type = "adapter";
  std::string adapter_type = "lora";
  std::string left_out = {};  // a tensor that is not written
  std::string more = {};      // a tensor that is written too, a matrix of the first pair's A
  float first_number = 0;     // of the last tensor's data, where it is not 0
};

// Overwrites path.
void write_tiny_adapter(const std::filesystem::path& path, const TinyModel& model,
                        const TinyAdapter& adapter);

}  // namespace fastcache::model::test_support
