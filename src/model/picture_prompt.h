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

  // Token i is a patch of the same grid as the token before it.
  bool continues_grid(int i) const;
};

// ids: vocabulary ids and, for each of the layouts in order, a kPictureToken. mrope: tokens of a picture have
// the positions (time, row, column) of Qwen2-VL (https://arxiv.org/abs/2409.12191), not one after the other.
// Tiles of a picture stand below each other in patch rows. both_ways: the patches of a grid see each other in
// the language model too (gemma3), kv::Token::sees_behind.
PicturePrompt expand_pictures(std::span<const int32_t> ids, std::span<const PictureLayout> layouts,
                              bool mrope, bool both_ways = false);

// Of pictures that are read both ways a grid goes into the model in one step. The end of a step that begins
// at token `begin` and was to end at `end`: in front of the grid that it would cut, or behind it where the
// step begins with that grid.
int uncut_end(const PicturePrompt& prompt, int begin, int end);

}  // namespace fastcache::model
