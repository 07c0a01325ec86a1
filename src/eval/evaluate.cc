// SPDX-License-Identifier: Apache-2.0
#include "eval/evaluate.h"

#include <algorithm>
#include <chrono>

#include "base/cpu_features.h"
#include "base/error.h"
#include "base/log.h"
#include "eval/answer.h"
#include "eval/retrieval_quality.h"

namespace fastcache::eval {
namespace {

constexpr int kFillerTexts = 24;
constexpr int kLeastTaskTokens = 512;
constexpr int kMostSamples = 10'000;

void refuse(const std::string& what) { throw Error{Code::bad_request, what}; }

void check_range(const char* option, int value, int least, int most) {
  if (value < least || value > most)
    refuse(fmt::format("{} {}: it must be {} to {}", option, value, least, most));
}

void check_context(const model::HParams& hparams, const EvalOptions& options) {
  const int text_tokens = options.context_tokens + options.continuation_tokens + 1;
  if (options.documents > 0 && text_tokens > hparams.context_length)
    throw Error{Code::context_too_long,
                fmt::format("--context {} and --continuation {} need {} tokens; the model's context holds {}",
                            options.context_tokens, options.continuation_tokens, text_tokens,
                            hparams.context_length)};
  if (options.examples == 0) return;
  for (const int length : options.lengths)
    if (length > hparams.context_length)
      throw Error{Code::context_too_long, fmt::format("--lengths {}: the model's context holds {} tokens",
                                                      length, hparams.context_length)};
}

// A press that comes again during decoding must do so, or it is the one that it wraps under another name.
void check_decoding(const std::vector<Method>& methods, const EvalOptions& options) {
  for (const Method& method : methods) {
    if (method.every == 0) continue;
    if (options.documents == 0)
      refuse(fmt::format("press '{}' is measured on texts that go on; --documents must be 1 or more",
                         method.name));
    if (method.every >= options.continuation_tokens)
      refuse(fmt::format("press '{}' comes again behind {} tokens; --continuation {} must be above that",
                         method.name, method.every, options.continuation_tokens));
  }
}

// Answers to tasks are short: compression during decoding would be that of the prompt alone.
std::vector<Method> methods_for_tasks(std::vector<Method> methods) {
  std::erase_if(methods, [](const Method& method) { return method.every > 0; });
  return methods;
}

std::vector<TokenText> find_texts(const model::Vocab& vocab, const EvalOptions& options) {
  TextWish wish{.n = options.documents,
                .min_tokens = options.context_tokens + options.continuation_tokens + 1,
                .seed = options.seed};
  if (options.examples > 0) wish.n = std::max(wish.n, kFillerTexts);
  if (options.documents == 0) wish.min_tokens = kLeastTaskTokens;
  return options.data.empty() ? system_texts(vocab, wish) : user_texts(options.data, vocab, wish);
}

WorkbenchOptions bench_options(const EvalOptions& options) {
  // Text: the context, the fork that is measured, and one more while a ratio is sought.
  int tokens = options.documents > 0 ? 4 * (options.context_tokens + options.continuation_tokens + 1) : 0;
  if (options.examples > 0)
    tokens = std::max(
        tokens, (kMethodsAtOnce + 3) * *std::max_element(options.lengths.begin(), options.lengths.end()));
  return {.kv_type = kv::parse_kv_type(options.kv_type),
          .chunk_tokens = options.chunk_tokens,
          .capacity_tokens = tokens,
          .max_sequences = kMethodsAtOnce + 3 + kForksOfAnAnswer};
}

}  // namespace

EvalOptions quick_options() {
  return {.removed = {0.5, 0.8},
          .documents = 4,
          .context_tokens = 1024,
          .continuation_tokens = 256,
          .examples = 6,
          .lengths = {1024}};
}

void check_options(const EvalOptions& options) {
  if (options.removed.empty()) refuse("--removed is empty; it must be a list such as 0.5,0.8");
  for (const double removed : options.removed)
    if (!(removed > 0.0 && removed < 1.0))
      refuse(
          fmt::format("--removed {}: it is the fraction removed and must be above 0 and below 1", removed));
  check_range("--documents", options.documents, 0, kMostSamples);
  check_range("--examples", options.examples, 0, kMostSamples);
  if (options.documents == 0 && options.examples == 0)
    refuse("--documents 0 and --examples 0 leave nothing to measure");
  check_range("--context", options.context_tokens, 2 * (kWindowFirst + kWindowLast), 1 << 24);
  check_range("--continuation", options.continuation_tokens, 1, 1 << 20);
  if (options.examples > 0 && options.lengths.empty())
    refuse("--lengths is empty; it must be a list such as 2048,4096");
  for (const int length : options.lengths) check_range("--lengths", length, kLeastTaskTokens, 1 << 24);
  kv::parse_kv_type(options.kv_type);
}

EvalResult evaluate(const model::LoadedModel& model, ComputePool& threads, const EvalOptions& options,
                    const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  check_options(options);
  check_context(model.hparams, options);
  const std::vector<Method> methods = choose_methods(
      options.presses,
      {.n_layers = model.hparams.n_layers, .output_weights = !model.family->output_weights().empty()},
      options.seed);
  needs_of(methods);
  check_decoding(methods, options);
  EvalResult result{.options = options,
                    .model = model.name(),
                    .cpu = cpu_features().model_name,
                    .isa = isa_name(selected_isa()),
                    .threads = threads.n_threads(),
                    .n_documents = options.documents,
                    .n_tasks = task_count(options)};
  if (!progress(0, 1, "looking for texts")) return result;
  const std::vector<TokenText> texts = find_texts(model.vocab, options);
  Workbench bench(model, threads, bench_options(options));
  const size_t n_texts = std::min(texts.size(), static_cast<size_t>(options.documents));
  result.n_documents = static_cast<int>(n_texts);
  if (n_texts > 0)
    result.text = measure_text(bench, methods, std::span(texts).first(n_texts), options, progress);
  if (options.examples > 0 && result.text.documents.size() == n_texts)
    result.tasks = measure_tasks(bench, methods_for_tasks(methods), texts, options, progress);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace fastcache::eval
