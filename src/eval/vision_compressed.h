// SPDX-License-Identifier: Apache-2.0
// Questions about pictures on compressed caches: the prompt up to the last picture is read once, each press
// compresses a fork of it to the same bytes, and the questions come afterwards. So every token of an answer,
// the first too, is generated on the compressed cache. Owner: one thread.
#pragma once

#include "base/compute_pool.h"
#include "eval/vision_results.h"
#include "kv/page_layout.h"
#include "model/loaded_model.h"
#include "model/lora_adapter.h"
#include "model/vision_encoder.h"

namespace fastcache::eval {

struct CompressedEngine {
  const model::LoadedModel& model;
  model::VisionEncoder& vision;
  ComputePool& threads;
  const model::LoraAdapter* lora = nullptr;  // null: none
  kv::KvType kv_type = kv::KvType::bf16;
  int chunk_tokens = 512;
};

// Fills answers (of the uncompressed cache), presses and full_bytes of a result that has options and
// questions. Questions that fail are in none of the presses' scores. Throws Error: not_found, bad_request,
// unsupported (presses), pool_too_small, invalid_model.
void ask_compressed(const CompressedEngine& engine, const AskOptions& ask, VisionResult& result);

}  // namespace fastcache::eval
