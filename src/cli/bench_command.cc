// SPDX-License-Identifier: Apache-2.0
// `fastcache bench`: speed in process or of a server, as a table and as JSON.
#include <array>
#include <charconv>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/cpu_features.h"
#include "base/error.h"
#include "base/log.h"
#include "bench/kernel_speed.h"
#include "bench/raw_speed.h"
#include "cli/bench_serving.h"
#include "cli/bench_url.h"
#include "cli/commands.h"
#include "cli/json_file.h"
#include "cli/options.h"
#include "model/lora_adapter.h"
#include "model/models.h"

namespace fastcache::cli {
namespace {

struct BenchOptions {
  ModelOptions model;
  bench::RawBenchCases cases;
  std::vector<std::string> batches;
  bool whole_pool = false;  // --pool was given
  int repeats = 3;
  int decode_tokens = 64;
  bool profile = false;
  std::string lora;
  bool kernels = false;
  bool serving = false;  // --requests was given
  bench::ServingOptions requests;
  UrlBenchOptions url;
  bool own_vocabulary = false;  // -m was given
  std::string json_path;
};

// "32x1024x64": sequences x prompt tokens x generated tokens.
bench::BatchCase parse_batch(const std::string& text) {
  bench::BatchCase batch;
  const std::array parts{&batch.sequences, &batch.prompt_tokens, &batch.generated_tokens};
  const char* at = text.data();
  const char* const end = at + text.size();
  bool good = true;
  for (size_t i = 0; good && i < parts.size(); ++i) {
    if (i > 0) good = at != end && *at++ == 'x';
    const auto [stop, error] = std::from_chars(at, end, *parts[i]);
    good = good && error == std::errc() && *parts[i] >= 1;
    at = stop;
  }
  if (!good || at != end) {
    throw Error{Code::bad_request,
                fmt::format("--batch {}: it must be SEQUENCESxPROMPTxGENERATED, such as 32x1024x64", text)};
  }
  return batch;
}

nlohmann::json to_json(const bench::RawBenchResults& results, const BenchOptions& options, int threads) {
  nlohmann::json json{
      {"cpu", cpu_features().model_name}, {"isa", isa_name(selected_isa())}, {"threads", threads},
      {"kv_type", options.model.kv_type}, {"repeats", options.repeats},      {"version", FASTCACHE_VERSION}};
  if (!options.lora.empty()) json["lora"] = options.lora;
  json["prefill"] = json["decode"] = json["batch"] = nlohmann::json::array();
  for (const auto& r : results.prefill)
    json["prefill"].push_back({{"n", r.n}, {"tokens_per_s", r.tokens_per_s}});
  for (const auto& r : results.decode)
    json["decode"].push_back({{"depth", r.depth}, {"tokens_per_s", r.tokens_per_s}});
  for (const auto& r : results.batches) {
    json["batch"].push_back({{"sequences", r.shape.sequences},
                             {"prompt", r.shape.prompt_tokens},
                             {"generated", r.shape.generated_tokens},
                             {"seconds", r.seconds},
                             {"prefill_tokens_per_s", r.prefill_tokens_per_s},
                             {"decode_tokens_per_s", r.decode_tokens_per_s},
                             {"ttft_p50_ms", r.ttft_p50_ms},
                             {"ttft_p99_ms", r.ttft_p99_ms}});
  }
  return json;
}

void print_table(const bench::RawBenchResults& results) {
  for (const auto& r : results.prefill) std::printf("prefill %-28d %10.1f tok/s\n", r.n, r.tokens_per_s);
  for (const auto& r : results.decode)
    std::printf("decode at depth %-20d %10.1f tok/s\n", r.depth, r.tokens_per_s);
  for (const auto& r : results.batches) {
    const std::string shape =
        fmt::format("{} x ({} + {})", r.shape.sequences, r.shape.prompt_tokens, r.shape.generated_tokens);
    std::printf(
        "batch %-30s %10.2f s      prefill %.0f tok/s, decode %.1f tok/s, TTFT p50 %.0f ms, p99 %.0f ms\n",
        shape.c_str(), r.seconds, r.prefill_tokens_per_s, r.decode_tokens_per_s, r.ttft_p50_ms,
        r.ttft_p99_ms);
  }
  double total_s = 0;
  for (const auto& row : results.profile) total_s += row.seconds;
  for (const auto& row : results.profile) {
    std::printf("  %-20s %9.1f ms  %5.1f %%  %8d calls\n", row.name.c_str(), row.seconds * 1e3,
                100 * row.seconds / total_s, row.calls);
  }
}

void print_kernels(const bench::KernelReport& report) {
  const MachinePeak& peak = report.peak;
  std::printf("machine, %d threads: int8 %.0f GOP/s, bf16 %.0f GFLOP/s, f32 %.0f GFLOP/s, memory %.1f GB/s\n",
              peak.n_threads, peak.int8_per_second / 1e9, peak.bf16_per_second / 1e9,
              peak.f32_per_second / 1e9, peak.read_bytes_per_second / 1e9);
  for (const bench::KernelSpeed& row : report.kernels) {
    std::printf("%-36s %-20s %10.1f us %8.1f GOP/s %7.1f GB/s  %3.0f %% of %s\n", row.kernel.c_str(),
                row.shape.c_str(), row.seconds * 1e6, row.operations_per_s / 1e9, row.bytes_per_s / 1e9,
                100 * row.share(), row.limited_by);
  }
}

nlohmann::json to_json(const bench::KernelReport& report) {
  nlohmann::json json{{"cpu", cpu_features().model_name},
                      {"isa", isa_name(selected_isa())},
                      {"threads", report.peak.n_threads}};
  json["peak"] = {{"int8_per_s", report.peak.int8_per_second},
                  {"bf16_per_s", report.peak.bf16_per_second},
                  {"f32_per_s", report.peak.f32_per_second},
                  {"read_bytes_per_s", report.peak.read_bytes_per_second}};
  for (const bench::KernelSpeed& row : report.kernels) {
    json["kernels"].push_back({{"kernel", row.kernel},
                               {"shape", row.shape},
                               {"seconds", row.seconds},
                               {"operations_per_s", row.operations_per_s},
                               {"bytes_per_s", row.bytes_per_s},
                               {"share", row.share()},
                               {"limited_by", row.limited_by}});
  }
  return json;
}

int run_kernels(const BenchOptions& options) {
  ComputePool compute(options.model.threads);
  const model::GgufFile file(model::find_model(options.model.model).string());
  const bench::KernelReport report =
      bench::measure_kernels(file, read_hparams(file), kv::parse_kv_type(options.model.kv_type), compute);
  if (options.json_path != "-") print_kernels(report);
  if (!options.json_path.empty()) write_json(to_json(report), options.json_path);
  return 0;
}

int run(BenchOptions options) {
  if (options.kernels) return run_kernels(options);
  if (!options.url.url.empty())
    return run_url_bench(options.url, options.own_vocabulary ? &options.model.model : nullptr,
                         options.json_path);
  if (options.serving) return run_serving_bench(options.requests, options.model, options.json_path);
  for (const std::string& text : options.batches) options.cases.batches.push_back(parse_batch(text));
  if (options.cases.prefill_tokens.empty() && options.cases.decode_depths.empty() &&
      options.cases.batches.empty()) {
    options.cases = {.prefill_tokens = {1000, 4000}, .decode_depths = {0, 4096}, .batches = {{32, 1024, 64}}};
  }
  check_writable(options.json_path);
  const kv::KvType kv_type = kv::parse_kv_type(options.model.kv_type);
  ComputePool compute(options.model.threads);
  const model::LoadedModel model(model::find_model(options.model.model).string(), compute);
  const auto lora =
      options.lora.empty() ? nullptr : std::make_unique<model::LoraAdapter>(options.lora, model.hparams);
  const bench::RawBenchOptions raw{
      .kv_type = kv_type,
      .pool_bytes = options.whole_pool ? options.model.pool_bytes : 0,
      .chunk_tokens = options.model.chunk_tokens,
      .repeats = options.repeats,
      .decode_tokens = options.decode_tokens,
      .profile = options.profile,
      .lora = lora.get(),
      .progress = [](const std::string& what) { std::fprintf(stderr, "%s\n", what.c_str()); }};
  const bench::RawBenchResults results = run_raw_bench(model, compute, options.cases, raw);
  if (options.json_path != "-") print_table(results);
  if (!options.json_path.empty())
    write_json(to_json(results, options, compute.n_threads()), options.json_path);
  return 0;
}

}  // namespace

void add_bench_command(CLI::App& program, int& exit_code) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = program.add_subcommand("bench", "measure speed: in process, or of a server");
  add_model_option(*command, options->model);
  add_engine_options(*command, options->model);
  command->add_option("--prefill", options->cases.prefill_tokens, "prompt lengths, in tokens [1000,4000]")
      ->delimiter(',');
  command
      ->add_option("--decode-depth", options->cases.decode_depths,
                   "decode one sequence with so many tokens cached [0,4096]")
      ->delimiter(',');
  command->add_option("--batch", options->batches, "SEQUENCESxPROMPTxGENERATED, all at once [32x1024x64]")
      ->delimiter(',');
  command->add_option("--repeat", options->repeats, "repeats; the median counts [3; with --requests 1]")
      ->check(CLI::Range(1, 1000));
  command->add_option("--decode-tokens", options->decode_tokens, "decode steps in one repeat")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_flag("--profile", options->profile, "time of each operation");
  command->add_option("--lora", options->lora,
                      "GGUF file with a LoRA adapter that everything is computed with");
  command->add_flag("--kernels", options->kernels,
                    "each kernel alone, as a share of what the machine can do");
  add_serving_options(*command, options->requests);
  add_url_options(*command, options->url);
  command->add_option("--json,--save-result", options->json_path,
                      "write JSON to this file, - for standard output");
  command->callback([options, command, &exit_code] {
    check_serving_options(*command);
    options->serving = command->count("--requests") > 0;
    options->own_vocabulary = command->count("--model") > 0;
    options->url.load = options->requests.load;
    if (!options->serving) options->url.load.requests = -1;
    options->url.generate_tokens = options->requests.generate_tokens;
    options->url.ignore_eos_given = command->count("--ignore-eos") > 0;
    if (command->count("--repeat") > 0) options->requests.repeats = options->repeats;
    options->whole_pool = command->count("--pool") > 0;
    exit_code = run(*options);
  });
}

}  // namespace fastcache::cli
