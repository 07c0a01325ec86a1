// SPDX-License-Identifier: Apache-2.0
// Pictures -> embeddings, by libmtmd from an mmproj GGUF file, beside a text model of which it needs the
// vocabulary alone.
//
// Threads. libmtmd evaluates on a ggml scheduler of its own and takes no thread pool: left alone it would
// start and end n threads for every picture, and these spin at barriers against those of the one ComputePool.
// So it is told to use one thread, its caller's, and its operations are taken from it in slices
// (graph_slicer.h) that run where the caller of encode() says: on the compute pool, by its owner, between two
// steps of the model.
//
// layout() may be called from any thread, also during encode(); encode() from one thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/compute_pool.h"
#include "base/hash.h"
#include "model/graph_slicer.h"
#include "model/picture_prompt.h"
#include "model/vocab.h"

namespace fastcache::model {

struct EncodedPicture {
  PictureLayout layout;
  std::vector<float> embeddings;  // [layout.n_image_tokens(), width], the image chunks in order
};

// Of a slice, in multiplications and additions: about 5 ms on two cores that do 100 billion a second
// together. That is what a running answer's next token waits at most for a picture, unless one attention of
// the encoder alone takes longer.
inline constexpr double kSliceCost = 5e8;

class VisionEncoder {
 public:
  // path: an mmproj file; text_width: the text model's n_embd. The vocabulary must outlive the encoder. It is
  // tried in a child process first, as vocabularies are (vocab_probe.h): call it early. Throws Error:
  // not_found, io, invalid_model, unsupported; bad_request for an mmproj of another text model.
  VisionEncoder(const std::string& path, const Vocab& vocab, int text_width, double slice_cost = kSliceCost);
  ~VisionEncoder();
  VisionEncoder(const VisionEncoder&) = delete;
  VisionEncoder& operator=(const VisionEncoder&) = delete;

  const std::string& path() const;
  const char* projector() const;    // "mlp", "idefics3", ...
  int width() const;                // of an embedding
  PictureReading reading() const;   // by the text model that it belongs to
  const Hash128& identity() const;  // of the file's bytes: equal pixels and equal identity, equal embeddings

  // What a picture of this size becomes; allocates nothing that grows with it. Throws Error (bad_request) for
  // a size that cannot be encoded.
  PictureLayout layout(int width, int height) const;

  // Nothing if run_slice gave up. Throws Error: bad_request (pixels that do not fit the size), internal.
  std::optional<std::vector<EncodedPicture>> encode(std::span<const PictureView> pictures,
                                                    const GraphSlicer::Run& run_slice);
  // The same at once. The calling thread is the pool's owner.
  std::vector<EncodedPicture> encode(std::span<const PictureView> pictures, ComputePool& pool);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache::model
