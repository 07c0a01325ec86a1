// SPDX-License-Identifier: Apache-2.0
// `fastcache run`: one answer, or a chat on the terminal.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "engine/generator.h"
#include "model/loaded_model.h"
#include "model/models.h"

namespace fastcache::cli {
namespace {

struct RunOptions {
  ModelOptions model;
  engine::SamplingParams sampling;
  std::string prompt;
  bool has_prompt = false;
  std::string system;
  int max_tokens = 512;
  bool raw = false;
  bool quiet = false;
};

// The parts of a run that stay together for all its turns.
struct Session {
  explicit Session(const RunOptions& options)
      : options(options),
        compute(options.model.threads),
        model(model::find_model(options.model.model).string(), compute),
        generator(model, compute, options.model.generator()) {
    if (model.chat_template.is_default() && !options.raw) {
      log().warn("the model brings no chat template; ChatML is used (--raw sends the prompt as it is)");
    }
    if (!options.system.empty()) messages.push_back({"system", options.system});
  }

  const RunOptions& options;
  ComputePool compute;
  model::LoadedModel model;
  engine::Generator generator;
  std::vector<model::ChatMessage> messages;
  Interrupt interrupt;
};

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

// Prints the answer as it comes; returns it whole.
std::string answer(Session& session, std::span<const model::Token> prompt, engine::GenerateStats& stats) {
  std::string text;
  model::TextStream stream(session.model.vocab);
  const auto print = [&](const std::string& piece) {
    text += piece;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  stats = session.generator.generate(prompt, session.options.max_tokens, session.options.sampling,
                                     [&](model::Token token) {
                                       print(stream.push(token));
                                       return !session.interrupt.requested();
                                     });
  print(stream.flush());
  std::printf("\n");
  if (std::fflush(stdout) != 0) throw Error{Code::io, "standard output cannot be written"};
  if (!session.options.quiet) print_stats(stats);
  return text;
}

std::vector<model::Token> prompt_tokens(Session& session, const std::string& text) {
  if (session.options.raw)
    return session.model.vocab.tokenize(text, {.add_special = true, .parse_special = true});
  session.messages.push_back({"user", text});
  return session.model.chat_template.apply_tokens(session.messages, {});
}

int run_once(Session& session, const std::string& text) {
  if (text.empty())
    throw Error{Code::bad_request, "the prompt is empty; it must have at least one character"};
  engine::GenerateStats stats;
  answer(session, prompt_tokens(session, text), stats);
  return stats.finish_reason == engine::FinishReason::cancelled ? exit_code(Code::cancelled) : 0;
}

// One turn of a chat. A turn that fails is taken back, so that the next one starts from a state that worked.
void chat_turn(Session& session, const std::string& line) {
  const size_t n_before = session.messages.size();
  try {
    engine::GenerateStats stats;
    const std::string text = answer(session, prompt_tokens(session, line), stats);
    if (!session.options.raw) session.messages.push_back({"assistant", text});
  } catch (const Error& error) {
    session.messages.resize(n_before);
    std::fprintf(stderr, "fastcache: %s\n", error.what());
  }
}

int chat(Session& session) {
  std::fprintf(stderr, "Chat with %s. Ctrl-C stops an answer, /reset starts afresh, Ctrl-D leaves.\n",
               session.model.hparams.name.empty() ? session.model.file.path().c_str()
                                                  : session.model.hparams.name.c_str());
  while (true) {
    session.interrupt.clear();
    std::fputs("> ", stderr);
    std::string line;
    if (!std::getline(std::cin, line)) {
      if (!session.interrupt.requested()) break;  // end of input
      std::cin.clear();
      clearerr(stdin);
      std::fputs("\n(Ctrl-D leaves)\n", stderr);
      continue;
    }
    if (line.empty()) continue;
    if (line == "/reset") {
      session.messages.clear();
      if (!session.options.system.empty()) session.messages.push_back({"system", session.options.system});
      session.generator.forget();
      continue;
    }
    chat_turn(session, line);
  }
  std::fputs("\n", stderr);
  return 0;
}

int run(const RunOptions& options) {
  engine::check(options.sampling);
  Session session(options);
  if (options.has_prompt) return run_once(session, options.prompt);
  if (isatty(STDIN_FILENO) != 0) return chat(session);
  const std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  return run_once(session, text);
}

}  // namespace

void add_run_command(CLI::App& program, int& exit_code) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = program.add_subcommand("run", "answer a prompt, or chat on the terminal");
  add_model_option(*command, options->model);
  add_engine_options(*command, options->model);
  CLI::Option* prompt = command->add_option("-p,--prompt", options->prompt,
                                            "answer this and leave [chat, or read standard input]");
  command->add_option("--system", options->system, "system message of the chat");
  command->add_option("-n,--max-tokens", options->max_tokens, "longest answer, in tokens")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  command->add_option("--temperature", options->sampling.temperature, "0 = always the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", options->sampling.top_k, "sample among the k likeliest, 0 = all")
      ->capture_default_str();
  command
      ->add_option("--top-p", options->sampling.top_p,
                   "sample among the likeliest with this total probability")
      ->capture_default_str();
  command->add_option("--min-p", options->sampling.min_p, "drop tokens below this share of the likeliest")
      ->capture_default_str();
  command->add_option("--seed", options->sampling.seed, "of the sampler")->capture_default_str();
  command->add_flag("--raw", options->raw, "no chat template: continue the prompt as it is");
  command->add_flag("-q,--quiet", options->quiet, "no statistics after the answer");
  command->callback([options, prompt, &exit_code] {
    options->has_prompt = prompt->count() > 0;
    exit_code = run(*options);
  });
}

}  // namespace fastcache::cli
