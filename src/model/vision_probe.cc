// SPDX-License-Identifier: Apache-2.0
#include "model/vision_probe.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"
#include "base/log.h"
#include "model/child_process.h"
#include "model/libllama.h"
#include "model/models.h"
#include "model/probe_mark.h"
#include "model/vision_context.h"

namespace fastcache::model {
namespace {

constexpr int kProbeVersion = 1;  // raise it when the probe looks at more

std::string try_vision(const GgufFile& file, const Vocab& vocab) {
  silence_llama_library();
  log().set_level(spdlog::level::off);  // no lock: another thread may hold the logger's for ever
  GraphSlicer slicer(1);
  const VisionContext context = open_vision(file, vocab, slicer);
  if (!try_encoding(context.get(), slicer)) return "a picture cannot be encoded: " + take_llama_error();
  return "";
}

}  // namespace

void probe_vision(const GgufFile& file, const Vocab& vocab, std::chrono::milliseconds limit) {
  using Kind = ChildOutcome::Kind;
  const auto mark = probe_mark(
      file.header(), fmt::format("vision {} {} {}", kProbeVersion, llama_version(), vocab.n_tokens()));
  if (is_marked(mark)) return;
  start_llama_library();
  log();
  const size_t memory = 2 * file.bytes() + (size_t{2} << 30);
  const ChildOutcome outcome = run_in_child([&] { return try_vision(file, vocab); }, limit, memory);
  switch (outcome.kind) {
    case Kind::done:
      set_mark(mark);
      return;
    case Kind::failed:
      if (outcome.message.starts_with(file.path())) throw Error{Code::invalid_model, outcome.message};
      file.fail(outcome.message);
    case Kind::crashed:
      file.fail(fmt::format("the vision encoder crashes the loader ({}); the file is broken or hostile",
                            outcome.message));
    case Kind::timed_out:
      file.fail(fmt::format("the vision encoder keeps the loader busy for ever ({})", outcome.message));
  }
}

}  // namespace fastcache::model
