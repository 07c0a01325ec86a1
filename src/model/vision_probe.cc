// SPDX-License-Identifier: Apache-2.0
#include "model/vision_probe.h"

#include <spdlog/fmt/fmt.h>

#include "model/file_probe.h"
#include "model/libllama.h"
#include "model/vision_context.h"

namespace fastcache::model {
namespace {

constexpr int kProbeVersion = 1;  // raise it when the probe looks at more

std::string try_vision(const GgufFile& file, const Vocab& vocab) {
  GraphSlicer slicer(1);
  const VisionContext context = open_vision(file, vocab, slicer);
  if (!try_encoding(context.get(), slicer)) return "a picture cannot be encoded: " + take_llama_error();
  return "";
}

}  // namespace

void probe_vision(const GgufFile& file, const Vocab& vocab, std::chrono::milliseconds limit) {
  probe_file(file,
             {.version = fmt::format("vision {} {} {}", kProbeVersion, llama_version(), vocab.n_tokens()),
              .subject = "the vision encoder",
              .work = [&] { return try_vision(file, vocab); },
              .limit = limit,
              .memory_bytes = 2 * file.bytes() + (size_t{2} << 30)});
}

}  // namespace fastcache::model
