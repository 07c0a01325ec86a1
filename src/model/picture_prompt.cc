// SPDX-License-Identifier: Apache-2.0
#include "model/picture_prompt.h"

#include <cassert>

namespace fastcache::model {
namespace {

void add_text(PicturePrompt& prompt, int32_t id) {
  prompt.tokens.push_back(kv::text_token(id, prompt.next_position++));
  prompt.rows.push_back(-1);
}

void add_grid(PicturePrompt& prompt, const PictureChunk& chunk, int image, int first_row, int first_patch_row,
              PictureReading reading) {
  const int32_t begin = prompt.next_position;
  for (int i = 0; i < chunk.n_tokens(); ++i) {
    const int y = i / chunk.nx, x = i % chunk.nx;
    const int32_t in_line = begin + i;
    kv::Token token{.image = image,
                    .patch_row = static_cast<int16_t>(first_patch_row + y),
                    .patch_col = static_cast<int16_t>(x),
                    .position = {in_line, in_line, in_line, in_line}};
    if (reading.both_ways) token.sees_behind = chunk.n_tokens() - 1 - i;
    if (reading.mrope) token.position = {begin, begin + y, begin + x, 0};
    prompt.tokens.push_back(token);
    prompt.rows.push_back(first_row + i);
  }
  prompt.next_position += chunk.n_positions;
}

void add_picture(PicturePrompt& prompt, const PictureLayout& layout, int image, PictureReading reading) {
  int n_rows = 0, n_patch_rows = 0;
  for (const PictureChunk& chunk : layout.chunks) {
    for (const int32_t id : chunk.text) add_text(prompt, id);
    if (!chunk.is_image()) continue;
    add_grid(prompt, chunk, image, n_rows, n_patch_rows, reading);
    n_rows += chunk.n_tokens();
    n_patch_rows += chunk.ny;
  }
}

}  // namespace

bool PicturePrompt::continues_grid(int i) const {
  if (i <= 0 || i >= static_cast<int>(rows.size())) return false;
  const int32_t row = rows[static_cast<size_t>(i)];
  return row > 0 && row == rows[static_cast<size_t>(i) - 1] + 1;
}

int uncut_end(const PicturePrompt& prompt, int begin, int end) {
  int cut = end;
  while (prompt.continues_grid(cut)) --cut;
  if (cut > begin) return cut;
  while (prompt.continues_grid(end)) ++end;
  return end;
}

PicturePrompt expand_pictures(std::span<const int32_t> ids, std::span<const PictureLayout> layouts,
                              PictureReading reading) {
  PicturePrompt prompt;
  int image = 0;
  for (const int32_t id : ids) {
    if (id != kPictureToken) {
      add_text(prompt, id);
      continue;
    }
    assert(image < static_cast<int>(layouts.size()));
    add_picture(prompt, layouts[static_cast<size_t>(image)], image, reading);
    ++image;
  }
  return prompt;
}

}  // namespace fastcache::model
