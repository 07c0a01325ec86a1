// SPDX-License-Identifier: Apache-2.0
// For tests of the step loop: a tiny model that is written and loaded, pools measured in tokens, prompts.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/compute_pool.h"
#include "fastcache/request.h"
#include "kv/page_layout.h"
#include "model/loaded_model.h"
#include "model/testing/tiny_model.h"

namespace fastcache::engine::test_support {

struct LoopModel {  // 2 layers with 2 KV heads of 16 channels, unless `tiny` says otherwise
  static constexpr int kHeads = 4;
  static constexpr int kReservePages = 8;

  explicit LoopModel(int context_length = 512, int n_threads = 2, model::test_support::TinyModel tiny = {})
      : compute(n_threads), model(write(context_length, std::move(tiny)), compute) {}

  static size_t page_bytes(kv::KvType type = kv::KvType::bf16) {
    return kv::page_payload_bytes(16) + kv::page_side_bytes(type);
  }
  // That holds one uncompressed sequence of so many tokens, whatever the type.
  static size_t pool_for(int n_tokens, kv::KvType type = kv::KvType::bf16) {
    const int rows = kv::rows_per_page(type);
    return static_cast<size_t>((n_tokens + rows - 1) / rows * kHeads + kReservePages) * page_bytes(type);
  }

  // Another salt, another prompt, from the first token on.
  static std::vector<int32_t> prompt(int n_tokens, int salt) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < n_tokens; ++i) tokens.push_back(3 + (i * 37 + (i / 7) * 5 + salt * 11) % 317);
    return tokens;
  }
  static Request request(int n_prompt, int salt, int max_tokens) {
    Request request{.tokens = prompt(n_prompt, salt), .max_tokens = max_tokens};
    request.sampling.ignore_eos = true;
    return request;
  }
  static Request compressed(int n_prompt, int salt, int max_tokens, const std::string& press, double ratio) {
    Request made = request(n_prompt, salt, max_tokens);
    made.compression = {.press = press, .ratio = ratio};
    return made;
  }

  model::test_support::TemporaryFolder folder;
  ComputePool compute;
  model::LoadedModel model;

 private:
  std::string write(int context_length, model::test_support::TinyModel tiny) const {
    tiny.context_length = context_length;
    tiny.seed = 5;
    model::test_support::write_tiny_model(folder.file("tiny.gguf"), tiny);
    return folder.file("tiny.gguf");
  }
};

}  // namespace fastcache::engine::test_support
