// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.h"

namespace fastcache::server {
namespace {

constexpr double kTtftBounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                                  1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
constexpr double kTokenBounds[] = {0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1,  0.15,
                                   0.2,   0.3,  0.4,   0.5,  0.75,  1.0,  2.5,  5.0,  7.5,   10.0, 20.0};
constexpr double kStageBounds[] = {0.001, 0.005, 0.01,  0.05,  0.1,   0.3,   0.5,    0.8,   1.0,
                                   1.5,   2.0,   2.5,   5.0,   10.0,  15.0,  20.0,   30.0,  40.0,
                                   50.0,  60.0,  120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
constexpr double kCountBounds[] = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                                   1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};

void add(Histogram& histogram, double ms) { histogram.observe(ms / 1e3); }

}  // namespace

Metrics::Metrics(std::string model_name)
    : model_name_(std::move(model_name)),
      ttft_(kTtftBounds),
      inter_token_(kTokenBounds),
      e2e_(kStageBounds),
      queue_(kStageBounds),
      prefill_(kStageBounds),
      compress_(kStageBounds),
      decode_(kStageBounds),
      prompt_tokens_(kCountBounds),
      generated_tokens_(kCountBounds) {
  // Rates need a beginning at 0.
  for (const char* reason : {"stop", "length", "tool_calls", "abort", "deadline", "error"})
    finished_[reason] = 0;
}

void Metrics::request_ended(const Summary& summary, double e2e_ms, std::string_view press) {
  add(e2e_, e2e_ms);
  prompt_tokens_.observe(summary.prompt_tokens);
  generated_tokens_.observe(summary.generated_tokens);
  if (summary.generated_tokens == 0) return;  // no stage came to its end
  add(ttft_, summary.ttft_ms);
  add(queue_, summary.queue_ms);
  add(prefill_, summary.prefill_ms);
  add(decode_, summary.decode_ms);
  if (summary.rows_before_compression == 0) return;
  add(compress_, summary.compress_ms);
  PressTotals& totals = presses_[std::string{press}];
  ++totals.requests;
  totals.rows_before += static_cast<double>(summary.rows_before_compression);
  totals.rows_after += static_cast<double>(summary.rows_after_compression);
  totals.freed_bytes += static_cast<double>(summary.freed_bytes);
  totals.seconds += summary.compress_ms / 1e3;
}

void Metrics::tokens_arrived(double ms_each, int n_tokens) { inter_token_.observe(ms_each / 1e3, n_tokens); }

void Metrics::write_requests(PrometheusText& out, const EngineStats& stats) const {
  const auto count = [](int64_t n) { return static_cast<double>(n); };
  out.gauge("num_requests_running", "Answers that hold KV.", stats.running);
  out.gauge("num_requests_waiting", "Requests in the queue.", stats.waiting);
  out.family("num_requests_stage", "gauge",
             "Running answers by stage; encode: requests that wait for their pictures.");
  out.sample(stats.encoding, {{"stage", "encode"}});
  out.sample(stats.prefilling, {{"stage", "prefill"}});
  out.sample(stats.compressing, {{"stage", "compress"}});
  out.sample(stats.decoding, {{"stage", "decode"}});
  out.counter("prompt_tokens_total", "Prompt tokens of ended requests.", count(stats.prompt_tokens));
  out.counter("generation_tokens_total", "Generated tokens of ended requests.",
              count(stats.generated_tokens));
  out.counter("prefix_cache_queries_total", "Prompt tokens that the prefix cache was asked for.",
              count(stats.prompt_tokens));
  out.counter("prefix_cache_hits_total", "Prompt tokens that it had.", count(stats.cached_tokens));
  out.counter("mm_cache_queries_total", "Pictures in requests.", count(stats.mm_cache_queries));
  out.counter("mm_cache_hits_total", "Those whose embeddings were there, or on their way.",
              count(stats.mm_cache_hits));
  out.counter("mm_encoded_total", "Pictures that went through the vision encoder.",
              count(stats.pictures_encoded));
  out.counter("num_preemptions_total", "Answers that gave their pages to others.", count(stats.preemptions));
  out.counter("engine_steps_total", "Steps of the model.", count(stats.steps));
  out.family("request_success_total", "counter", "Answers that ended, by reason.");
  for (const auto& [reason, n] : finished_) out.sample(count(n), {{"finished_reason", reason}});
  out.family("errors_total", "counter", "Requests that were refused or failed, by code.");
  for (const auto& [code, n] : errors_) out.sample(count(n), {{"code", code}});
}

void Metrics::write_memory(PrometheusText& out, const EngineStats& stats,
                           const std::vector<RequestFigures>& requests) const {
  const auto bytes = [](size_t n) { return static_cast<double>(n); };
  const double in_use = bytes(stats.pool_bytes) - bytes(stats.free_bytes) - bytes(stats.prefix_cached_bytes);
  out.gauge("kv_cache_usage_perc", "Share of the KV pool that answers hold; 1 is all of it.",
            stats.pool_bytes > 0 ? in_use / bytes(stats.pool_bytes) : 0);
  out.family("kv_pool_bytes", "gauge", "Bytes of the KV pool by state; together they are the pool.");
  out.sample(bytes(stats.free_bytes), {{"state", "free"}});
  out.sample(bytes(stats.prefill_bytes), {{"state", "prefill"}});
  out.sample(bytes(stats.compressed_bytes), {{"state", "compressed"}});
  out.sample(bytes(stats.decode_bytes), {{"state", "decode"}});
  out.sample(bytes(stats.shared_bytes), {{"state", "shared"}});
  out.sample(bytes(stats.prefix_cached_bytes), {{"state", "prefix_cached"}});
  double rows = 0, rows_uncompressed = 0;
  for (const RequestFigures& request : requests) {
    rows += bytes(request.rows_held);
    rows_uncompressed += bytes(request.rows_uncompressed);
  }
  out.gauge("mm_cache_bytes", "Embeddings of pictures kept, beside the pool.", bytes(stats.mm_cache_bytes));
  out.gauge("query_bytes", "Queries kept for presses, beside the pool.", bytes(stats.query_bytes));
  out.gauge("kv_resident_rows", "Rows of K and V that running requests hold, all layers and heads.", rows);
  out.gauge("kv_logical_rows", "Rows that they would hold without compression.", rows_uncompressed);
}

void Metrics::write_presses(PrometheusText& out) const {
  const auto each = [&](const char* name, const char* help, const auto& value) {
    out.family(name, "counter", help);
    for (const auto& [press, totals] : presses_) out.sample(value(totals), {{"press", press}});
  };
  using Totals = PressTotals;
  each("compressed_requests_total", "Requests whose prompt was compressed.",
       [](const Totals& t) { return static_cast<double>(t.requests); });
  each("compression_rows_before_total", "Rows of their prompts, all layers and heads.",
       [](const Totals& t) { return t.rows_before; });
  each("compression_rows_evicted_total", "Rows that were removed.",
       [](const Totals& t) { return t.rows_before - t.rows_after; });
  each("compression_freed_bytes_total", "Bytes of pages that became free.",
       [](const Totals& t) { return t.freed_bytes; });
  each("compression_seconds_total", "Time in presses.", [](const Totals& t) { return t.seconds; });
}

void Metrics::write_histograms(PrometheusText& out) const {
  const auto each = [&](const char* name, const char* help, const Histogram& histogram) {
    out.family(name, "histogram", help);
    out.histogram(histogram);
  };
  each("time_to_first_token_seconds", "Submission to first token.", ttft_);
  each("inter_token_latency_seconds", "Between tokens of an answer.", inter_token_);
  each("e2e_request_latency_seconds", "Arrival of a request to its end.", e2e_);
  each("request_queue_time_seconds", "Until the prompt's first step.", queue_);
  each("request_prefill_time_seconds", "From there to the first token.", prefill_);
  each("request_compress_time_seconds", "In presses, of compressed requests.", compress_);
  each("request_decode_time_seconds", "First token to last.", decode_);
  each("request_prompt_tokens", "Prompt tokens of a request.", prompt_tokens_);
  each("request_generation_tokens", "Generated tokens of a request.", generated_tokens_);
}

std::string Metrics::text(const EngineStats& stats, const std::vector<RequestFigures>& requests,
                          std::string_view more) const {
  PrometheusText out("fastcache:", {{"model_name", model_name_}});
  write_requests(out, stats);
  write_memory(out, stats, requests);
  write_presses(out);
  write_histograms(out);
  out.append(more);
  return out.take();
}

}  // namespace fastcache::server
