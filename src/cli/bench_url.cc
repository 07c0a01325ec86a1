// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_url.h"

#include <cstdio>
#include <cstdlib>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "bench/http_load_result.h"
#include "bench/load_prompts.h"
#include "cli/interrupt.h"
#include "cli/json_file.h"
#include "cli/load_report.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "model/gguf_file.h"
#include "model/hparams.h"
#include "model/models.h"
#include "model/utf8.h"
#include "model/vocab.h"

namespace fastcache::cli {
namespace {

using bench::HttpLoadResult;

constexpr int kRequestsByDefault = 32;
constexpr int kWarmUpTokens = 4;  // the first alone may have no text

std::string vocabulary_path(const std::string& name) {
  try {
    return model::find_model(name).string();
  } catch (const Error& error) {
    throw Error{error.code(),
                fmt::format("{}; with --url, -m names a local file whose token ids are drawn, and "
                            "--served-model-name the server's model",
                            error.what())};
  }
}

std::vector<bench::LoadPrompt> dataset_prompts(UrlBenchOptions& options, const std::string* vocabulary) {
  std::optional<model::Vocab> vocab;
  if (vocabulary != nullptr) vocab.emplace(model::GgufFile(vocabulary_path(*vocabulary)));
  const auto all = bench::read_prompts(options.dataset, [&](std::string_view text) {
    return vocab ? static_cast<int>(vocab->tokenize(text, {}).size()) : bench::estimate_tokens(text);
  });
  if (options.load.requests < 0) options.load.requests = static_cast<int>(all.size());
  check(options.load);
  return bench::draw_prompts(all, options.load.requests, options.load.seed);
}

std::vector<bench::LoadPrompt> prompts(UrlBenchOptions& options, const std::string* vocabulary) {
  if (!options.dataset.empty()) return dataset_prompts(options, vocabulary);
  if (options.load.requests < 0) options.load.requests = kRequestsByDefault;
  check(options.load);
  if (vocabulary != nullptr) {
    const model::GgufFile file(vocabulary_path(*vocabulary));
    options.load.n_vocab = read_hparams(file).n_vocab;
  }
  return bench::synthetic_prompts(options.load);
}

std::vector<bench::LoadBody> bodies(const UrlBenchOptions& options,
                                    const std::vector<bench::LoadPrompt>& prompts, int generate_tokens) {
  return make_bodies(prompts, {.endpoint = options.endpoint,
                               .model = options.served_model_name,
                               .generate_tokens = generate_tokens,
                               .ignore_eos = options.ignore_eos,
                               .extra = options.extra_body});
}

nlohmann::json to_json(const HttpLoadResult& result, const UrlBenchOptions& options) {
  const bench::ServingLoad& load = options.load;
  nlohmann::json json{{"version", FASTCACHE_VERSION},
                      {"url", options.url},
                      {"endpoint", options.endpoint},
                      {"model", options.served_model_name},
                      {"num_prompts", load.requests},
                      {"request_rate", load.rate_per_s},  // JSON has no inf: null is all at once
                      {"burstiness", load.burstiness},
                      {"max_concurrency", nullptr},
                      {"seed", load.seed},
                      {"generate_tokens", options.generate_tokens},
                      {"ignore_eos", options.ignore_eos},
                      {"extra_body", options.extra_body}};
  if (load.rate_per_s == 0) json["request_rate"] = nullptr;
  if (options.max_concurrency > 0) json["max_concurrency"] = options.max_concurrency;
  if (options.dataset.empty())
    json["prompt_tokens"] = load.prompt_tokens;
  else
    json["dataset"] = options.dataset;
  add_figures(json, result);
  add_latency(json, "ttft_beside_engine", result.ttft_beside_engine);
  json["not_finished"] = result.not_finished;
  json["answers_without_usage"] = result.without_usage;
  json["short_answers"] = result.short_answers;
  json["most_in_flight"] = result.most_in_flight;
  json["connections"] = result.connects;
  json["failures"] = nlohmann::json::array();
  for (const bench::LoadFailure& failure : result.failures)
    json["failures"].push_back(
        {{"kind", failure.kind}, {"count", failure.count}, {"first_message", failure.first_message}});
  return json;
}

void print_table(const HttpLoadResult& result, const UrlBenchOptions& options,
                 const bench::Goodput& goodput) {
  print_line("server, model", fmt::format("{}{}, {}", options.url, options.endpoint,
                                          model::displayable(options.served_model_name)));
  print_line("requests completed, failed",
             fmt::format("{}, {} (seed {})", result.completed, result.failed, options.load.seed));
  for (const bench::LoadFailure& failure : result.failures)
    print_line("  failed", fmt::format("{} x {}: {}", failure.count, failure.kind, failure.first_message));
  if (result.not_finished > 0) print_line("  not finished", std::to_string(result.not_finished));
  if (result.completed > 0) print_figures(result, goodput);
  print_latency("TTFT ms beside the engine's own", result.ttft_beside_engine);
  print_line("in flight at most, connections", fmt::format("{}, {}", result.most_in_flight, result.connects));
  if (result.without_usage > 0) {
    print_line("without usage",
               fmt::format("{} answers: their chunks are counted as tokens, and prompts of text "
                           "not at all",
                           result.without_usage));
  }
  if (options.ignore_eos && result.short_answers > 0)
    print_line("short answers", fmt::format("{}: the server ended them early", result.short_answers));
}

bench::HttpLoadRun run_load(const UrlBenchOptions& options, const bench::LoadServer& server,
                            const std::vector<bench::LoadBody>& bodies) {
  ProgressBar bar;
  const Interrupt interrupt;
  bench::HttpLoadOptions load{.server = server,
                              .endpoint = options.endpoint,
                              .bodies = bodies,
                              .arrivals_ms = arrival_times_ms(options.load),
                              .max_concurrency = options.max_concurrency,
                              .stop_handle = interrupt.wait_handle(),
                              .progress = {}};
  if (bar.is_shown()) {
    load.progress = [&](const bench::LoadProgress& now) {
      bar.show(now.completed + now.failed, now.requests,
               fmt::format("{} in flight, {} failed", now.in_flight, now.failed));
    };
  }
  return run_http_load(load);
}

}  // namespace

int run_url_bench(UrlBenchOptions options, const std::string* vocabulary, const std::string& json_path) {
  check_writable(json_path);
  if (options.generate_tokens < 1) {
    throw Error{Code::bad_request,
                fmt::format("answers of {} tokens; they must have at least 1", options.generate_tokens)};
  }
  const bench::Goodput goodput = bench::parse_goodput(options.goodput);
  if (options.api_key.empty())
    if (const char* key = std::getenv("OPENAI_API_KEY")) options.api_key = key;
  const bench::LoadServer server{
      .url = bench::parse_load_url(options.url), .api_key = options.api_key, .timeout_s = options.timeout_s};
  if (!options.ignore_eos_given) options.ignore_eos = options.dataset.empty();
  const auto asked = prompts(options, vocabulary);
  bodies(options, asked, options.generate_tokens);  // refuses before the server is asked anything
  if (options.served_model_name.empty()) options.served_model_name = bench::first_model(server);
  const auto sent = bodies(options, asked, options.generate_tokens);
  bench::LoadPrompt hello;
  hello.text = "Hello";
  warm_up(server, options.endpoint, bodies(options, {hello}, kWarmUpTokens).front());
  const HttpLoadResult result = summarise(run_load(options, server, sent), sent, goodput);
  if (json_path != "-") print_table(result, options, goodput);
  if (!json_path.empty()) write_json(to_json(result, options), json_path);
  if (result.not_finished > 0) return report("stopped; these are the figures so far", Code::cancelled);
  return result.completed > 0 ? 0 : report("no request was completed", Code::io);
}

}  // namespace fastcache::cli
