// SPDX-License-Identifier: Apache-2.0
// A picture on its way into a language model: pixels, then what it becomes in a prompt. Plain data.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "fastcache/picture.h"

namespace fastcache::model {

// Pixels that somebody else owns.
struct PictureView {
  int width = 0;
  int height = 0;
  std::span<const uint8_t> rgb;  // [height, width, 3]
};
inline PictureView view_of(const Picture& picture) {
  return {.width = picture.width, .height = picture.height, .rgb = picture.rgb};
}

// One stretch of what a picture becomes: tokens that its family writes around it, or a grid of embeddings
// (the whole picture, or one tile of it).
struct PictureChunk {
  std::vector<int32_t> text;  // vocabulary ids; empty: an image chunk
  int nx = 0, ny = 0;         // image: its tokens' grid in reading order; {n, 1} where there is no grid
  int n_positions = 0;        // what it takes of the sequence's positions; M-RoPE: less than its tokens

  bool is_image() const { return text.empty(); }
  int n_tokens() const { return is_image() ? nx * ny : static_cast<int>(text.size()); }
};

// Known from a picture's size alone, before anything is encoded.
struct PictureLayout {
  std::vector<PictureChunk> chunks;

  int n_tokens() const {
    int n = 0;
    for (const PictureChunk& chunk : chunks) n += chunk.n_tokens();
    return n;
  }
  int n_image_tokens() const {
    int n = 0;
    for (const PictureChunk& chunk : chunks) n += chunk.is_image() ? chunk.n_tokens() : 0;
    return n;
  }
  int n_positions() const {
    int n = 0;
    for (const PictureChunk& chunk : chunks) n += chunk.n_positions;
    return n;
  }
};

}  // namespace fastcache::model
