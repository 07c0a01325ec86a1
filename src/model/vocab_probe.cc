// SPDX-License-Identifier: Apache-2.0
#include "model/vocab_probe.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"
#include "model/chat_template.h"
#include "model/file_probe.h"
#include "model/libllama.h"
#include "model/vocab.h"

namespace fastcache::model {
namespace {

constexpr int kProbeVersion = 1;  // raise it when the probe looks at more

// Everything that this process will later do on its own with the model's metadata.
std::string try_vocab(const GgufFile& file) {
  const Vocab vocab(file, Vocab::Unprobed{});
  const std::string text = "Hello, world! 123 \xC3\xA4\xE4\xBD\xA0\xF0\x9F\x99\x82\n\n  <|im_start|>x</s>";
  for (const bool special : {false, true}) {
    vocab.detokenize(vocab.tokenize(text, {.add_special = special, .parse_special = special}));
  }
  for (int token = 0; token < vocab.n_tokens(); ++token) vocab.piece(token);
  const ChatTemplate chat(vocab);
  try {
    chat.apply({{"system", "x"}, {"user", "y"}, {"assistant", "z"}, {"user", "y"}}, {});
  } catch (const Error&) {
    // Some templates refuse some orders of roles. That is an answer.
  }
  return "";
}

}  // namespace

void probe_vocab(const GgufFile& file, std::chrono::milliseconds limit) {
  probe_file(file, {.version = fmt::format("{} {}", kProbeVersion, llama_version()),
                    .subject = "the vocabulary or chat template",
                    .work = [&] { return try_vocab(file); },
                    .limit = limit});
}

}  // namespace fastcache::model
