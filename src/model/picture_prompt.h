// SPDX-License-Identifier: Apache-2.0
// Prompts with pictures in them, token by token as a sequence keeps them (kv/token_table.h): which of them is
// text, which stands for which patch of which picture, and at which positions of the sequence.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fastcache/picture.h"
#include "kv/token_table.h"
#include "model/picture.h"

namespace fastcache::model {

struct PicturePrompt {
  std::vector<kv::Token> tokens;
  // [tokens.size()]: the row of its picture's embeddings; -1: text.
  std::vector<int32_t> rows;
  int32_t next_position = 0;
};

// ids: vocabulary ids and, for each of the layouts in order, a kPictureToken. mrope: tokens of a picture have
// the positions (time, row, column) of Qwen2-VL (https://arxiv.org/abs/2409.12191), not one after the other.
// Tiles of a picture stand below each other in patch rows.
PicturePrompt expand_pictures(std::span<const int32_t> ids, std::span<const PictureLayout> layouts,
                              bool mrope);

}  // namespace fastcache::model
