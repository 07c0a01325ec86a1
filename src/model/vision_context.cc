// SPDX-License-Identifier: Apache-2.0
#include "model/vision_context.h"

#include <spdlog/fmt/fmt.h>

#include <vector>

#include "base/error.h"
#include "model/libllama.h"

namespace fastcache::model {

VisionContext open_vision(const GgufFile& file, const Vocab& vocab, GraphSlicer& slicer) {
  mtmd_context_params params = mtmd_context_params_default();
  params.use_gpu = false;
  params.print_timings = false;
  params.n_threads = 1;   // the calling one; see vision_encoder.h
  params.warmup = false;  // reserves memory for a picture that may never come
  params.cb_eval = GraphSlicer::on_node;
  params.cb_eval_user_data = &slicer;
  take_llama_error();
  VisionContext context(mtmd_init_from_file(file.path().c_str(), vocab.llama(), params));
  if (!context) {
    const std::string reason = take_llama_error();
    file.fail(fmt::format("the vision encoder cannot be loaded: {}",
                          reason.empty() ? "libmtmd gives no reason" : reason));
  }
  return context;
}

VisionChunks split_picture(const mtmd_context* context, const PictureView& picture) {
  const mtmd::bitmap_ptr bitmap(mtmd_bitmap_init(static_cast<uint32_t>(picture.width),
                                                 static_cast<uint32_t>(picture.height),
                                                 picture.rgb.empty() ? nullptr : picture.rgb.data()));
  const mtmd_input_part part{.text = nullptr, .bitmap = bitmap.get()};
  const mtmd_input_part* parts[] = {&part};
  VisionChunks chunks(mtmd_input_chunks_init());
  take_llama_error();
  if (mtmd_tokenize_from_parts(context, chunks.get(), parts, 1, /*add_special=*/false) != 0) {
    throw Error{Code::bad_request, fmt::format("a picture of {} x {} pixels cannot be prepared: {}",
                                               picture.width, picture.height, take_llama_error())};
  }
  return chunks;
}

bool try_encoding(mtmd_context* context, GraphSlicer& slicer) {
  constexpr int kSide = 64;
  const std::vector<uint8_t> grey(size_t{3} * kSide * kSide, 128);
  const VisionChunks chunks = split_picture(context, {.width = kSide, .height = kSide, .rgb = grey});
  for (size_t i = 0; i < mtmd_input_chunks_size(chunks.get()); ++i) {
    const mtmd_input_chunk* chunk = mtmd_input_chunks_get(chunks.get(), i);
    if (mtmd_input_chunk_get_type(chunk) != MTMD_INPUT_CHUNK_TYPE_IMAGE) continue;
    slicer.begin([](ggml_cgraph*) { return false; });
    const int32_t failed = mtmd_encode_chunk(context, chunk);
    slicer.end();
    return failed == 0;
  }
  return false;
}

void check_vision(const mtmd_context* context, const GgufFile& file, bool mrope) {
  if (!mtmd_support_vision(context)) file.fail("libmtmd finds no vision encoder in it");
  if (mtmd_decode_use_mrope(context) != mrope) {
    throw Error{
        Code::bad_request,
        fmt::format(
            "{}: the encoder {} text models with M-RoPE, and this one {}; it belongs to another text model",
            file.path(), mrope ? "goes with" : "does not go with", mrope ? "has another kind" : "has it")};
  }
}

}  // namespace fastcache::model
