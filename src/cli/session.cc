// SPDX-License-Identifier: Apache-2.0
#include "cli/session.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "cli/output.h"
#include "model/models.h"

namespace fastcache::cli {
namespace {

using engine::FinishReason;

void print_stats(const engine::GenerateStats& stats) {
  const double prefill_rate = (stats.prompt_tokens - stats.reused_tokens) / std::max(stats.prefill_s, 1e-9);
  const int decoded = stats.generated_tokens - 1;
  const double decode_rate = decoded > 0 ? decoded / std::max(stats.decode_s, 1e-9) : 0;
  std::fprintf(
      stderr,
      "[%d prompt tokens (%d reused), %.0f tok/s, first token after %.0f ms | %d tokens, %.1f tok/s | "
      "KV %s for %d rows | %s]\n",
      stats.prompt_tokens, stats.reused_tokens, prefill_rate, stats.prefill_s * 1e3, stats.generated_tokens,
      decode_rate, format_bytes(stats.kv_bytes).c_str(), stats.rows,
      engine::finish_reason_name(stats.finish_reason));
}

}  // namespace

Session::Session(const RunOptions& options)
    : options_(options),
      compute_(options.model.threads),
      model_(model::find_model(options.model.model).string(), compute_),
      generator_(model_, compute_, options.model.generator()),
      terminal_(isatty(STDOUT_FILENO) != 0) {
  if (model_.chat_template.is_default() && !options.raw)
    log().warn("the model brings no chat template; ChatML is used (--raw sends the prompt as it is)");
  reset();
}

void Session::reset() {
  generator_.forget();
  messages_.clear();
  if (!options_.system.empty()) messages_.push_back({"system", options_.system});
}

std::string Session::model_name() const {
  return model_.hparams.name.empty() ? model_.file.path() : model_.hparams.name;
}

std::vector<model::Token> Session::prompt_tokens() {
  if (options_.raw)
    return model_.vocab.tokenize(messages_.back().content, {.add_special = true, .parse_special = true});
  return model_.chat_template.apply_tokens(messages_, {});
}

std::string Session::answer(std::span<const model::Token> prompt, engine::GenerateStats& stats) {
  std::string text;
  model::TextStream stream(model_.vocab);
  const auto print = [&](const std::string& piece) {
    text += piece;
    print_now(terminal_ ? model::displayable_lines(piece) : piece);
  };
  try {
    stats = generator_.generate(
        prompt, options_.max_tokens, options_.sampling,
        [&](model::Token token) {
          print(stream.push(token));
          return !interrupt_.requested();
        },
        [&] { return !interrupt_.requested(); });
  } catch (const Error& error) {
    if (!text.empty() && error.code() != Code::io) print_now("\n");  // the sentence gets a line of its own
    throw;
  }
  print(stream.flush());
  print_now("\n");
  return text;
}

FinishReason Session::ask(const std::string& question) {
  const size_t n_before = messages_.size();
  engine::GenerateStats stats;
  try {
    messages_.push_back({"user", question});
    messages_.push_back({"assistant", answer(prompt_tokens(), stats)});
  } catch (const Error&) {
    messages_.resize(n_before);
    throw;
  }
  if (!options_.quiet) print_stats(stats);
  if (stats.finish_reason == FinishReason::pool_full)
    say("the answer ends here because the KV pool is full; --pool gives it more");
  if (stats.finish_reason == FinishReason::context_full)
    say(fmt::format("the answer ends here because the model's context of {} tokens is full",
                    model_.hparams.context_length));
  return stats.finish_reason;
}

}  // namespace fastcache::cli
