// SPDX-License-Identifier: Apache-2.0
#include "model/vocab_probe.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "model/chat_template.h"
#include "model/child_process.h"
#include "model/libllama.h"
#include "model/probe_mark.h"
#include "model/vocab.h"

namespace fastcache::model {
namespace {

constexpr int kProbeVersion = 1;  // raise it when the probe looks at more

// Most take 0.2 s. A child that was forked while another thread held a lock which fork() does not hand over
// (the allocator's under a sanitizer) waits for ever and says nothing about the file: so there is a second
// try.
constexpr std::chrono::milliseconds kFirstTry = std::chrono::seconds(5);

// Everything that this process will later do on its own with the model's metadata.
std::string try_vocab(const GgufFile& file) {
  silence_llama_library();
  log().set_level(spdlog::level::off);  // no lock: another thread may hold the logger's for ever
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
  using Kind = ChildOutcome::Kind;
  const auto mark = probe_mark(file.header(), fmt::format("{} {}", kProbeVersion, llama_version()));
  if (is_marked(mark)) return;
  start_llama_library();  // before the fork: the child must not take the lock of the first call
  log();
  const auto work = [&] { return try_vocab(file); };
  ChildOutcome outcome = run_in_child(work, std::min(limit, kFirstTry));
  if (outcome.kind == Kind::timed_out && limit > kFirstTry) outcome = run_in_child(work, limit);
  switch (outcome.kind) {
    case Kind::done:
      set_mark(mark);
      return;
    case Kind::failed:
      if (outcome.message.starts_with(file.path())) throw Error{Code::invalid_model, outcome.message};
      file.fail(outcome.message);
    case Kind::crashed:
      file.fail(fmt::format(
          "the vocabulary or chat template crashes the loader ({}); the file is broken or hostile",
          outcome.message));
    case Kind::timed_out:
      file.fail(fmt::format("the vocabulary or chat template keeps the loader busy for ever ({})",
                            outcome.message));
  }
}

}  // namespace fastcache::model
