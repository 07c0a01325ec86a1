// SPDX-License-Identifier: Apache-2.0
// The few calls of libmtmd that both the encoder and its probe make. Inside model/ only.
#pragma once

#include <mtmd.h>

#include <memory>

#include "model/gguf_file.h"
#include "model/graph_slicer.h"
#include "model/picture.h"
#include "model/vocab.h"

namespace fastcache::model {

using VisionContext = mtmd::context_ptr;
using VisionChunks = mtmd::input_chunks_ptr;

// Its operations go to the slicer, which must outlive it. Throws Error (invalid_model).
VisionContext open_vision(const GgufFile& file, const Vocab& vocab, GraphSlicer& slicer);

// What libmtmd makes of a picture; without pixels what it would make of one of that size. Throws Error
// (bad_request). Thread-safe.
VisionChunks split_picture(const mtmd_context* context, const PictureView& picture);

// Takes a small picture as far as the encoder's graph, of which nothing is computed. False: libmtmd refuses.
bool try_encoding(mtmd_context* context, GraphSlicer& slicer);

// Things that show only in an open encoder: it sees pictures, its positions are those of the text model.
void check_vision(const mtmd_context* context, const GgufFile& file, bool mrope);

}  // namespace fastcache::model
