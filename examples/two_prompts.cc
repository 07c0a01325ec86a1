// SPDX-License-Identifier: Apache-2.0
// Two prompts at once over one model; the second one's KV is compressed to a fifth after its prompt.
//   build/release/examples/two_prompts [model.gguf]
#include <cstdio>

#include "fastcache/engine.h"

int main(int argc, char** argv) {
  try {
    fastcache::Engine engine({.model = argc > 1 ? argv[1] : ""});
    auto plain = engine.submit({.messages = {{"user", "Name three rivers."}}, .max_tokens = 40});
    auto compressed = engine.submit({.messages = {{"user", "Why is the sky blue?"}},
                                     .max_tokens = 40,
                                     .compression = {.press = "knorm", .ratio = 0.8}});
    for (const auto& answer : {plain, compressed}) {
      while (auto delta = answer->next()) std::printf("%s", delta->text.c_str());
      const fastcache::Summary summary = answer->summary();
      std::printf("\n[first token after %.0f ms, %.1f ms per token; KV rows %zu -> %zu]\n", summary.ttft_ms,
                  summary.tpot_ms, summary.rows_before_compression, summary.rows_after_compression);
    }
  } catch (const fastcache::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
