// SPDX-License-Identifier: Apache-2.0
#include "model/vision_encoder.h"

#include <mtmd.h>
#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <utility>

#include "base/error.h"
#include "model/libllama.h"
#include "model/mmproj_check.h"
#include "model/vision_context.h"
#include "model/vision_probe.h"

namespace fastcache::model {
namespace {

constexpr int kMaxSide = 16384;
constexpr int kMaxAspect = 200;   // beyond that a side shrinks to nothing when the picture is resized
constexpr int kStripAspect = 50;  // an encoder's pictures have sides of more pixels than this

void check_size(int width, int height) {
  if (width >= 1 && height >= 1 && width <= kMaxSide && height <= kMaxSide && width <= height * kMaxAspect &&
      height <= width * kMaxAspect)
    return;
  throw Error{
      Code::bad_request,
      fmt::format(
          "a picture of {} x {} pixels; each side must be 1 to {}, and the longer one at most {} times "
          "the shorter",
          width, height, kMaxSide, kMaxAspect)};
}

void check_pixels(const PictureView& picture) {
  check_size(picture.width, picture.height);
  const size_t expected =
      size_t{3} * static_cast<size_t>(picture.width) * static_cast<size_t>(picture.height);
  if (picture.rgb.size() == expected) return;
  throw Error{Code::bad_request, fmt::format("a picture of {} x {} pixels with {} bytes; there must be {}",
                                             picture.width, picture.height, picture.rgb.size(), expected)};
}

// nx, ny of an image chunk. libmtmd knows the grid only where M-RoPE needs it.
std::pair<int, int> grid_of(const mtmd_input_chunk* chunk, const Projector& projector) {
  const auto n = static_cast<int>(mtmd_input_chunk_get_n_tokens(chunk));
  if (projector.mrope) {
    const mtmd_image_tokens* tokens = mtmd_input_chunk_get_tokens_image(chunk);
    const auto last = mtmd_image_tokens_get_decoder_pos(tokens, 0, static_cast<size_t>(n) - 1);
    return {static_cast<int>(last.x) + 1, static_cast<int>(last.y) + 1};
  }
  const auto side = static_cast<int>(std::lround(std::sqrt(static_cast<double>(n))));
  if (projector.square && side * side == n) return {side, side};
  return {n, 1};
}

PictureLayout layout_of(const mtmd_input_chunks* chunks, const Projector& projector) {
  PictureLayout layout;
  for (size_t i = 0; i < mtmd_input_chunks_size(chunks); ++i) {
    const mtmd_input_chunk* from = mtmd_input_chunks_get(chunks, i);
    PictureChunk& chunk = layout.chunks.emplace_back();
    chunk.n_positions = static_cast<int>(mtmd_input_chunk_get_n_pos(from));
    if (mtmd_input_chunk_get_type(from) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
      size_t n = 0;
      const llama_token* tokens = mtmd_input_chunk_get_tokens_text(from, &n);
      chunk.text.assign(tokens, tokens + n);
    } else {
      std::tie(chunk.nx, chunk.ny) = grid_of(from, projector);
    }
  }
  return layout;
}

std::vector<const mtmd_input_chunk*> image_chunks(const mtmd_input_chunks* chunks) {
  std::vector<const mtmd_input_chunk*> images;
  for (size_t i = 0; i < mtmd_input_chunks_size(chunks); ++i) {
    const mtmd_input_chunk* chunk = mtmd_input_chunks_get(chunks, i);
    if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_IMAGE) images.push_back(chunk);
  }
  return images;
}

}  // namespace

struct VisionEncoder::Impl {
  Impl(const std::string& path, const Vocab& vocab, int text_width, double slice_cost)
      : file(path), projector(check_mmproj(file, vocab, text_width)), width(text_width), slicer(slice_cost) {
    probe_vision(file, vocab);
    context = open_vision(file, vocab, slicer);
    try_encoding(context.get(), slicer);  // the slicer learns how long the graph is
    check_vision(context.get(), file, projector.mrope);
    check_markers(vocab);
    identity = file.content_hash();
  }

  // What libmtmd looks up in the vocabulary and does not find it puts into prompts as -1.
  void check_markers(const Vocab& vocab) const {
    const VisionChunks chunks = split_picture(context.get(), {.width = 64, .height = 64, .rgb = {}});
    for (const PictureChunk& chunk : layout_of(chunks.get(), projector).chunks) {
      for (const Token token : chunk.text) {
        if (vocab.is_valid(token)) continue;
        throw Error{
            Code::bad_request,
            fmt::format(
                "{}: projector {} puts tokens around pictures that the text model's vocabulary does not "
                "have; it belongs to another text model",
                file.path(), projector.name)};
      }
    }
  }

  // Encodes as many of the chunks, from the first on, as libmtmd takes together. Returns how many; 0: given
  // up.
  size_t encode_some(std::span<const mtmd_input_chunk* const> chunks, const GraphSlicer::Run& run,
                     std::vector<std::vector<float>*>& into);

  GgufFile file;
  const Projector& projector;
  int width;
  GraphSlicer slicer;
  VisionContext context;
  Hash128 identity;
};

VisionEncoder::VisionEncoder(const std::string& path, const Vocab& vocab, int text_width, double slice_cost)
    : impl_(std::make_unique<Impl>(path, vocab, text_width, slice_cost)) {}
VisionEncoder::~VisionEncoder() = default;

const std::string& VisionEncoder::path() const { return impl_->file.path(); }
const char* VisionEncoder::projector() const { return impl_->projector.name; }
int VisionEncoder::width() const { return impl_->width; }
PictureReading VisionEncoder::reading() const {
  return {.mrope = mtmd_decode_use_mrope(impl_->context.get()),
          .both_ways = mtmd_decode_use_non_causal(impl_->context.get(), nullptr)};
}
const Hash128& VisionEncoder::identity() const { return impl_->identity; }

PictureLayout VisionEncoder::layout(int width, int height) const {
  check_size(width, height);
  // Only with pixels does libmtmd say that its preprocessing would scale a thin strip to nothing.
  const bool strip = std::max(width, height) > kStripAspect * std::min(width, height);
  const std::vector<uint8_t> black(
      strip ? size_t{3} * static_cast<size_t>(width) * static_cast<size_t>(height) : 0);
  const VisionChunks chunks =
      split_picture(impl_->context.get(), {.width = width, .height = height, .rgb = black});
  return layout_of(chunks.get(), impl_->projector);
}

size_t VisionEncoder::Impl::encode_some(std::span<const mtmd_input_chunk* const> chunks,
                                        const GraphSlicer::Run& run, std::vector<std::vector<float>*>& into) {
  const mtmd::batch_ptr batch(mtmd_batch_init(context.get()));
  size_t n = 0;
  while (n < chunks.size() && mtmd_batch_add_chunk(batch.get(), chunks[n]) == 0) ++n;
  take_llama_error();
  slicer.begin(run);
  const int32_t failed = n == 0 ? 1 : mtmd_batch_encode(batch.get());
  if (!slicer.end()) return 0;
  if (failed != 0)
    throw Error{Code::internal,
                fmt::format("{}: a picture could not be encoded: {}", file.path(), take_llama_error())};
  for (size_t i = 0; i < n; ++i) {
    const float* from = mtmd_batch_get_output_embd(batch.get(), chunks[i]);
    const size_t size = mtmd_input_chunk_get_n_tokens(chunks[i]) * static_cast<size_t>(width);
    into[i]->insert(into[i]->end(), from, from + size);
  }
  return n;
}

std::optional<std::vector<EncodedPicture>> VisionEncoder::encode(std::span<const PictureView> pictures,
                                                                 const GraphSlicer::Run& run_slice) {
  for (const PictureView& picture : pictures) check_pixels(picture);
  std::vector<EncodedPicture> encoded(pictures.size());
  std::vector<VisionChunks> owners;
  std::vector<const mtmd_input_chunk*> chunks;
  std::vector<std::vector<float>*> into;
  for (size_t i = 0; i < pictures.size(); ++i) {
    owners.push_back(split_picture(impl_->context.get(), pictures[i]));
    encoded[i].layout = layout_of(owners.back().get(), impl_->projector);
    for (const mtmd_input_chunk* chunk : image_chunks(owners.back().get())) {
      chunks.push_back(chunk);
      into.push_back(&encoded[i].embeddings);
    }
  }
  for (std::span<const mtmd_input_chunk* const> left = chunks; !left.empty();) {
    const size_t n = impl_->encode_some(left, run_slice, into);
    if (n == 0) return std::nullopt;
    left = left.subspan(n);
    into.erase(into.begin(), into.begin() + static_cast<ptrdiff_t>(n));
  }
  return encoded;
}

std::vector<EncodedPicture> VisionEncoder::encode(std::span<const PictureView> pictures, ComputePool& pool) {
  auto encoded = encode(pictures, [&](ggml_cgraph* slice) {
    pool.compute(slice);
    return true;
  });
  return std::move(*encoded);
}

}  // namespace fastcache::model
