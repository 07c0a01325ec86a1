// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_vision.h"

#include <chrono>
#include <cstdlib>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "bench/load_url.h"
#include "cli/eval_url.h"
#include "cli/interrupt.h"
#include "cli/json_file.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/vision_choice.h"
#include "eval/report_html.h"
#include "eval/vision_compressed.h"
#include "eval/vision_dataset.h"
#include "eval/vision_engine.h"
#include "eval/vision_figures.h"
#include "eval/vision_html.h"
#include "eval/vision_json.h"
#include "eval/vision_table.h"
#include "fastcache/engine.h"
#include "model/models.h"

namespace fastcache::cli {
namespace {

void refuse(const std::string& what) { throw Error{Code::bad_request, what}; }

// With the encoder and adapter that the model's name stands for.
VisionEvalOptions completed(VisionEvalOptions options, const std::string& model) {
  const bool needs_no_eyes = !options.url.empty() || (options.questions.blind && options.mmproj.empty());
  if (!needs_no_eyes) choose_vision(model, options.mmproj, options.lora);
  return options;
}

void check(const VisionEvalOptions& options) {
  const eval::VisionOptions& questions = options.questions;
  eval::find_vision_dataset(questions.dataset);
  for (const double removed : questions.removed)
    if (!(removed > 0.0 && removed < 1.0))
      refuse(
          fmt::format("--removed {}: it is the fraction removed and must be above 0 and below 1", removed));
  if (!questions.presses.empty() && questions.blind)
    refuse("--press and --blind exclude each other: without pictures there is nothing to compress");
  if (!options.lora.empty() && questions.blind)
    refuse("--lora and --blind exclude each other: the adapter works on questions with pictures only");
  if (!options.url.empty()) {
    bench::parse_load_url(options.url);
    for (const auto& [option, path] :
         {std::pair("--mmproj", options.mmproj), std::pair("--lora", options.lora)})
      if (!path.empty())
        refuse(fmt::format("--url and {} exclude each other: the server has its own", option));
    if (!questions.presses.empty())
      refuse("--press needs the model here: a server compresses when the first token has left already");
    return;
  }
  if (options.mmproj.empty() && !questions.blind)
    refuse("--dataset needs --mmproj FILE, the GGUF file with the vision encoder of the model, or --blind");
}

EngineOptions engine_of(const VisionEvalOptions& options, const ModelOptions& model) {
  return {.model = model.model,
          .pool_bytes = model.pool_bytes,
          .kv_type = model.kv_type,
          .threads = model.threads,
          .step_tokens = model.chunk_tokens,
          .max_running = options.questions.concurrency,
          .mmproj = options.mmproj,
          .lora = options.lora};
}

void ask_in_process(const VisionEvalOptions& options, const ModelOptions& model, const eval::AskOptions& ask,
                    eval::VisionResult& result) {
  Engine engine(engine_of(options, model));
  result.model = engine.model().name;
  result.answers = eval::ask_engine(engine, result.questions, ask);
}

void ask_with_presses(const VisionEvalOptions& options, const ModelOptions& model_options,
                      const eval::AskOptions& ask, eval::VisionResult& result) {
  ComputePool compute(model_options.threads);
  const model::LoadedModel model(model::find_model(model_options.model).string(), compute);
  model::VisionEncoder vision(options.mmproj, model.vocab, model.hparams.n_embd);
  std::optional<model::LoraAdapter> lora;
  if (!options.lora.empty()) lora.emplace(options.lora, model.hparams);
  result.model = model.name();
  eval::ask_compressed({.model = model,
                        .vision = vision,
                        .threads = compute,
                        .lora = lora ? &*lora : nullptr,
                        .kv_type = kv::parse_kv_type(model_options.kv_type),
                        .chunk_tokens = model_options.chunk_tokens},
                       ask, result);
}

void ask_at_url(const VisionEvalOptions& options, const ModelOptions&, const eval::AskOptions& ask,
                eval::VisionResult& result) {
  bench::LoadServer server{
      .url = bench::parse_load_url(options.url), .api_key = options.api_key, .timeout_s = options.timeout_s};
  if (server.api_key.empty())
    if (const char* key = std::getenv("OPENAI_API_KEY")) server.api_key = key;
  result.model = options.served_model_name.empty() ? first_model(server) : options.served_model_name;
  result.answers = ask_server(server, result.model, result.questions, ask);
}

eval::VisionResult ask_all(const VisionEvalOptions& options, const ModelOptions& model) {
  const eval::VisionOptions& wanted = options.questions;
  eval::VisionResult result{
      .options = wanted, .mmproj = options.mmproj, .lora = options.lora, .url = options.url};
  result.questions = eval::choose_questions(
      eval::load_vision_questions(eval::find_vision_dataset(wanted.dataset), wanted.data),
      {.categories = wanted.categories, .n = wanted.examples, .seed = wanted.seed});
  ProgressBar bar;
  const Interrupt interrupt(Interrupt::Second::ends_the_program);
  const eval::AskOptions ask{.blind = wanted.blind,
                             .answer_tokens = wanted.answer_tokens,
                             .concurrency = wanted.concurrency,
                             .progress = [&](int done, int of, const std::string& what) {
                               bar.show(done, of, what);
                               return !interrupt.requested();
                             }};
  const auto start = std::chrono::steady_clock::now();
  const auto ask_them = !options.url.empty()     ? ask_at_url
                        : wanted.presses.empty() ? ask_in_process
                                                 : ask_with_presses;
  ask_them(options, model, ask, result);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace

int run_vision_eval(const VisionEvalOptions& options, const ModelOptions& model, const ReportPaths& paths) {
  const VisionEvalOptions all_options = completed(options, model.model);
  check(all_options);
  for (const std::string& path : {paths.json, paths.html, paths.markdown}) check_writable(path);
  const std::string chart_js = paths.html.empty() ? std::string() : eval::read_chart_js(paths.chart_js);
  eval::VisionResult result = ask_all(all_options, model);
  const eval::VisionFigures figures = eval::vision_figures(result);
  result.stopped = figures.n_left > 0;
  if (figures.all.n == 0 && figures.n_failed > 0) throw Error{Code::bad_request, figures.first_error};
  if (paths.json != "-") print_now(eval::vision_table(result));
  if (!paths.json.empty()) write_json(eval::vision_json(result), paths.json);
  if (!paths.html.empty()) write_text(eval::vision_html(result, chart_js), paths.html);
  if (!paths.markdown.empty()) write_text(eval::vision_markdown(result), paths.markdown);
  if (result.stopped) return report("stopped; these are the figures so far", Code::cancelled);
  return 0;
}

}  // namespace fastcache::cli
