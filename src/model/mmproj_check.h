// SPDX-License-Identifier: Apache-2.0
// Whether a GGUF file is a vision encoder ("mmproj") that belongs to a text model. libmtmd compares widths
// only where it has the text model's weights; ours is loaded for its vocabulary alone, so that is done here.
#pragma once

#include <string>
#include <vector>

#include "model/gguf_file.h"
#include "model/vocab.h"

namespace fastcache::model {

// A kind of projector that the engine knows how to feed.
struct Projector {
  const char* name;    // clip.projector_type
  const char* tensor;  // whose dimension `width_dim` is the width of the embeddings
  int width_dim;
  std::vector<const char*> markers;  // control tokens that the text model must have
  bool mrope;                        // goes with text models that have M-RoPE, and only with these
  bool square;                       // its image chunks are square grids
};

// Throws Error: invalid_model (no mmproj, no vision encoder, a missing tensor), unsupported (a projector that
// is not in the table), bad_request (an mmproj of another text model: its width or its markers are not
// there).
const Projector& check_mmproj(const GgufFile& file, const Vocab& vocab, int text_width);

}  // namespace fastcache::model
