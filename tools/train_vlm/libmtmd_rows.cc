// SPDX-License-Identifier: Apache-2.0
// What the pinned source itself makes of exported files: the rows of a picture by libmtmd, and the logits
// that libllama gives behind them with the adapter. Built and called by check.py.
//
// usage: libmtmd_rows MODEL MMPROJ ADAPTER|- SIDE PIXELS PROMPT OUT
// PIXELS: SIDE * SIDE * 3 bytes. PROMPT: text with <__media__> for the picture. OUT gets, as floats: the
// rows, then the logits behind the prompt. Standard output gets the prompt's text tokens, a line for each
// piece.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama.h"
#include "mtmd-helper.h"
#include "mtmd.h"

namespace {

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(std::string("cannot read ") + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <class T>
T* made(T* thing, const char* what) {
  if (thing == nullptr) throw std::runtime_error(std::string("could not load ") + what);
  return thing;
}

void print_pieces(const mtmd_input_chunks* chunks) {
  for (size_t i = 0; i < mtmd_input_chunks_size(chunks); ++i) {
    const mtmd_input_chunk* chunk = mtmd_input_chunks_get(chunks, i);
    if (mtmd_input_chunk_get_type(chunk) != MTMD_INPUT_CHUNK_TYPE_TEXT) continue;
    size_t n = 0;
    const llama_token* tokens = mtmd_input_chunk_get_tokens_text(chunk, &n);
    for (size_t t = 0; t < n; ++t) std::printf("%d ", tokens[t]);
    std::printf("\n");
  }
}

std::vector<float> picture_rows(mtmd_context* vision, const mtmd_input_chunks* chunks, int width) {
  for (size_t i = 0; i < mtmd_input_chunks_size(chunks); ++i) {
    const mtmd_input_chunk* chunk = mtmd_input_chunks_get(chunks, i);
    if (mtmd_input_chunk_get_type(chunk) != MTMD_INPUT_CHUNK_TYPE_IMAGE) continue;
    if (mtmd_encode_chunk(vision, chunk) != 0)
      throw std::runtime_error("libmtmd could not encode the picture");
    const float* rows = mtmd_get_output_embd(vision);
    return {rows, rows + mtmd_input_chunk_get_n_tokens(chunk) * static_cast<size_t>(width)};
  }
  throw std::runtime_error("the prompt has no picture");
}

std::vector<float> logits_behind(llama_context* context, llama_model* model, mtmd_context* vision,
                                 const mtmd_input_chunks* chunks) {
  llama_pos end = 0;
  if (mtmd_helper_eval_chunks(vision, context, chunks, 0, 0, 512, true, &end) != 0) {
    throw std::runtime_error("libllama could not evaluate the prompt");
  }
  const float* logits = llama_get_logits_ith(context, -1);
  return {logits, logits + llama_vocab_n_tokens(llama_model_get_vocab(model))};
}

void log_warnings(ggml_log_level level, const char* text, void* /*unused*/) {
  if (level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

void run(char** argv) {
  llama_log_set(log_warnings, nullptr);
  mtmd_helper_log_set(log_warnings, nullptr);
  llama_model_params model_params = llama_model_default_params();
  model_params.use_extra_bufts = false;
  llama_model* model = made(llama_model_load_from_file(argv[1], model_params), argv[1]);
  llama_context_params context_params = llama_context_default_params();
  context_params.n_ctx = 4096;
  context_params.n_threads = context_params.n_threads_batch = 2;
  llama_context* context = made(llama_init_from_model(model, context_params), "a context");
  if (std::string(argv[3]) != "-") {
    llama_adapter_lora* adapter = made(llama_adapter_lora_init(model, argv[3]), argv[3]);
    float scale = 1.0f;
    if (llama_set_adapters_lora(context, &adapter, 1, &scale) != 0)
      throw std::runtime_error("the adapter is refused");
  }
  mtmd_context_params vision_params = mtmd_context_params_default();
  vision_params.use_gpu = false;
  vision_params.n_threads = 2;
  mtmd_context* vision = made(mtmd_init_from_file(argv[2], model, vision_params), argv[2]);

  const std::string pixels = read_file(argv[5]);
  const auto side = static_cast<uint32_t>(std::stoi(argv[4]));
  if (pixels.size() != size_t{3} * side * side) throw std::runtime_error("PIXELS has another size");
  const mtmd_bitmap* picture =
      mtmd_bitmap_init(side, side, reinterpret_cast<const unsigned char*>(pixels.data()));
  mtmd_input_text text{};
  text.text = argv[6];
  text.text_len = std::strlen(argv[6]);
  text.add_special = false;
  text.parse_special = true;
  mtmd_input_chunks* chunks = mtmd_input_chunks_init();
  if (mtmd_tokenize(vision, chunks, &text, &picture, 1) != 0)
    throw std::runtime_error("the prompt is refused");
  print_pieces(chunks);
  const std::vector<float> rows = picture_rows(vision, chunks, llama_model_n_embd(model));
  const std::vector<float> logits = logits_behind(context, model, vision, chunks);
  std::ofstream out(argv[7], std::ios::binary);
  for (const auto* numbers : {&rows, &logits}) {
    out.write(reinterpret_cast<const char*>(numbers->data()),
              static_cast<std::streamsize>(numbers->size() * sizeof(float)));
  }
  if (!out.flush()) throw std::runtime_error(std::string("cannot write ") + argv[7]);
}

}

int main(int argc, char** argv) {
  if (argc != 8)
    return std::fprintf(stderr, "usage: libmtmd_rows MODEL MMPROJ ADAPTER|- SIDE PIXELS PROMPT OUT\n"), 2;
  try {
    run(argv);
  } catch (const std::exception& error) {
    return std::fprintf(stderr, "libmtmd_rows: %s\n", error.what()), 1;
  }
  return 0;  // the process ends: what it loaded is given back with it
}
