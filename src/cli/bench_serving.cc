// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_serving.h"

#include <cmath>
#include <cstdio>
#include <utility>

#include "base/cpu_features.h"
#include "base/log.h"
#include "cli/json_file.h"
#include "cli/load_report.h"
#include "model/gguf_file.h"
#include "model/hparams.h"
#include "model/models.h"

namespace fastcache::cli {
namespace {

using bench::ServingResult;
using bench::Spread;

nlohmann::json setting_json(const bench::ServingOptions& options) {
  const bench::ServingLoad& load = options.load;
  const Compression& compression = options.compression;
  nlohmann::json json{{"cpu", cpu_features().model_name},
                      {"isa", isa_name(selected_isa())},
                      {"version", FASTCACHE_VERSION},
                      {"threads", options.engine.threads},
                      {"kv_type", options.engine.kv_type},
                      {"step_tokens", options.engine.step_tokens},
                      {"max_running", options.engine.max_running},
                      {"policy", options.engine.policy},
                      {"prefix_cache", options.engine.prefix_cache},
                      {"num_prompts", load.requests},
                      {"request_rate", load.rate_per_s},  // JSON has no inf: null is all at once
                      {"burstiness", load.burstiness},
                      {"prompt_tokens", load.prompt_tokens},
                      {"generate_tokens", options.generate_tokens},
                      {"shared_prefix_tokens", load.shared_prefix_tokens},
                      {"seed", load.seed},
                      {"repeats", options.repeats},
                      {"press", compression.press}};
  if (load.rate_per_s == 0) json["request_rate"] = nullptr;
  if (compression.ratio) json["ratio"] = *compression.ratio;
  if (compression.budget) json["budget"] = *compression.budget;
  return json;
}

nlohmann::json to_json(const Spread& spread) {
  return {{"min", spread.min}, {"mean", spread.mean}, {"max", spread.max}};
}

nlohmann::json to_json(const bench::PoolUse& use) {
  return {{"pool_bytes", use.pool_bytes},
          {"samples", use.samples},
          {"free_bytes", to_json(use.free)},
          {"prefill_bytes", to_json(use.prefill)},
          {"decode_bytes", to_json(use.decode)},
          {"compressed_bytes", to_json(use.compressed)},
          {"shared_bytes", to_json(use.shared)},
          {"prefix_cached_bytes", to_json(use.prefix_cached)},
          {"peak_used_bytes", use.peak_used_bytes},
          {"peak_held_bytes", use.peak_held_bytes},
          {"at_peak",
           {{"prefill_bytes", use.at_peak.prefill_bytes},
            {"decode_bytes", use.at_peak.decode_bytes},
            {"compressed_bytes", use.at_peak.compressed_bytes},
            {"shared_bytes", use.at_peak.shared_bytes},
            {"prefix_cached_bytes", use.at_peak.prefix_cached_bytes}}},
          {"max_running", use.max_running},
          {"max_waiting", use.max_waiting}};
}

nlohmann::json to_json(const ServingResult& result, const bench::ServingOptions& options) {
  nlohmann::json json = setting_json(options);
  add_figures(json, result);
  json["mean_queue_ms"] = result.mean_queue_ms;
  json["mean_prefill_ms"] = result.mean_prefill_ms;
  json["mean_compress_ms"] = result.mean_compress_ms;
  json["mean_decode_ms"] = result.mean_decode_ms;
  json["cached_tokens"] = result.cached_tokens;
  json["preemptions"] = result.preemptions;
  json["rows_before_compression"] = result.rows_before_compression;
  json["rows_after_compression"] = result.rows_after_compression;
  json["freed_bytes"] = result.freed_bytes;
  json["decode_throughput_all_running"] = result.decode_throughput_all_running;
  json["pool"] = to_json(result.pool);
  return json;
}

void print_spread(const char* what, const Spread& spread) {
  const auto bytes = [](double value) { return format_bytes(static_cast<uint64_t>(value)); };
  if (spread.max == 0) return;
  print_line(what, fmt::format("min {:>10}   mean {:>10}   max {:>10}", bytes(spread.min), bytes(spread.mean),
                               bytes(spread.max)));
}

void print_pool(const bench::PoolUse& use) {
  print_line("pool", fmt::format("{}; peak in use {}, {} of it held by answers; {} samples",
                                 format_bytes(use.pool_bytes), format_bytes(use.peak_used_bytes),
                                 format_bytes(use.peak_held_bytes), use.samples));
  print_spread("  free", use.free);
  print_spread("  of prefill", use.prefill);
  print_spread("  of decode", use.decode);
  print_spread("  of compressed answers", use.compressed);
  print_spread("  shared", use.shared);
  print_spread("  of the prefix cache alone", use.prefix_cached);
  print_line("running, waiting at most", fmt::format("{}, {}", use.max_running, use.max_waiting));
}

void print_table(const ServingResult& result, const bench::ServingOptions& options) {
  print_line("requests completed, failed",
             fmt::format("{}, {} (seed {})", result.completed, result.failed, options.load.seed));
  print_figures(result);
  if (result.completed > 0) {
    print_line("mean ms in queue, prefill",
               fmt::format("{:.1f}, {:.1f}", result.mean_queue_ms, result.mean_prefill_ms));
    print_line("mean ms in compress, decode",
               fmt::format("{:.1f}, {:.1f}", result.mean_compress_ms, result.mean_decode_ms));
  }
  print_line("decode while all run", std::isnan(result.decode_throughput_all_running)
                                         ? "n/a: some ended before others had their first token"
                                         : fmt::format("{:.1f} tok/s", result.decode_throughput_all_running));
  print_line("cached tokens, preemptions", fmt::format("{}, {}", result.cached_tokens, result.preemptions));
  if (options.compression.press != "none") {
    print_line("KV rows before, after compression",
               fmt::format("{}, {}; {} freed", result.rows_before_compression, result.rows_after_compression,
                           format_bytes(result.freed_bytes)));
  }
  print_pool(result.pool);
}

}  // namespace

int run_serving_bench(bench::ServingOptions options, const ModelOptions& model,
                      const std::string& json_path) {
  check_writable(json_path);
  {
    const model::GgufFile file(model::find_model(model.model).string());
    const model::HParams hparams = read_hparams(file);
    options.load.n_vocab = hparams.n_vocab;
    options.context_tokens = hparams.context_length;
  }
  options.engine.model = model.model;
  options.engine.pool_bytes = model.pool_bytes;
  options.engine.kv_type = model.kv_type;
  options.engine.threads = model.threads;
  options.engine.step_tokens = model.chunk_tokens;
  options.progress = [](const std::string& what) { std::fprintf(stderr, "%s\n", what.c_str()); };
  const ServingResult result = run_serving(options);
  if (json_path != "-") print_table(result, options);
  if (!json_path.empty()) write_json(to_json(result, options), json_path);
  return 0;
}

}  // namespace fastcache::cli
