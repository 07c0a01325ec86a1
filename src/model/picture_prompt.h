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

// How a language model reads pictures.
struct PictureReading {
  // Positions are (time, row, column), as in Qwen2-VL (https://arxiv.org/abs/2409.12191), not one after the
  // other.
  bool mrope = false;
  bool both_ways = false;  // patches of a grid see each other, later ones too (gemma3)
};

// ids: vocabulary ids and, for each of the layouts in order, a kPictureToken. Tiles of a picture stand below
// each other in patch rows.
PicturePrompt expand_pictures(std::span<const int32_t> ids, std::span<const PictureLayout> layouts,
                              PictureReading reading);

// For grids that are read both ways: each goes into the model in one step, or behind a prefix that held its
// first rows. The end of a step that begins at token `begin` and was to end at `end`: in front of the grid
// that it would cut, or behind it where the step begins with that grid.
int uncut_end(const PicturePrompt& prompt, int begin, int end);

}  // namespace fastcache::model
