// SPDX-License-Identifier: Apache-2.0
#include "bench/serving_result.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/statistics.h"

namespace fastcache::bench {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double mean(const std::vector<double>& values) {
  if (values.empty()) return kNone;
  double sum = 0;
  for (double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

Latency latency(const std::vector<double>& values_ms) {
  const double mean_ms = mean(values_ms);
  std::vector<double> squares;
  for (double value : values_ms) squares.push_back((value - mean_ms) * (value - mean_ms));
  return {.mean_ms = mean_ms,
          .median_ms = percentile(values_ms, 50),
          .std_ms = std::sqrt(mean(squares)),
          .p99_ms = percentile(values_ms, 99)};
}

void add_latencies(ServingResult& result, std::span<const RequestRecord* const> completed) {
  std::vector<double> ttft, tpot, itl, e2el;
  for (const RequestRecord* record : completed) {
    const std::vector<DeltaTime>& deltas = record->deltas;
    int tokens = 0;
    for (const DeltaTime& delta : deltas) tokens += delta.tokens;
    ttft.push_back(deltas.front().ms - record->planned_ms);
    e2el.push_back(deltas.back().ms - record->planned_ms);
    if (tokens > 1) tpot.push_back((deltas.back().ms - deltas.front().ms) / (tokens - 1));
    for (size_t i = 1; i < deltas.size(); ++i) itl.push_back(deltas[i].ms - deltas[i - 1].ms);
    result.total_output_tokens += tokens;
    result.duration_s = std::max(result.duration_s, deltas.back().ms / 1e3);
  }
  result.ttft = latency(ttft);
  result.tpot = latency(tpot);
  result.itl = latency(itl);
  result.e2el = latency(e2el);
}

void add_summaries(ServingResult& result, std::span<const RequestRecord* const> completed) {
  std::vector<double> queue, prefill, compress, decode;
  for (const RequestRecord* record : completed) {
    const Summary& summary = record->summary;
    queue.push_back(summary.queue_ms);
    prefill.push_back(summary.prefill_ms);
    compress.push_back(summary.compress_ms);
    decode.push_back(summary.decode_ms);
    result.total_input_tokens += summary.prompt_tokens;
    result.cached_tokens += summary.cached_tokens;
    result.preemptions += summary.preemptions;
    result.rows_before_compression += summary.rows_before_compression;
    result.rows_after_compression += summary.rows_after_compression;
    result.freed_bytes += summary.freed_bytes;
  }
  result.mean_queue_ms = mean(queue);
  result.mean_prefill_ms = mean(prefill);
  result.mean_compress_ms = mean(compress);
  result.mean_decode_ms = mean(decode);
}

double all_running_throughput(std::span<const RequestRecord* const> completed) {
  double begin_ms = 0, end_ms = std::numeric_limits<double>::infinity();
  for (const RequestRecord* record : completed) {
    begin_ms = std::max(begin_ms, record->deltas.front().ms);
    end_ms = std::min(end_ms, record->deltas.back().ms);
  }
  if (!(begin_ms < end_ms) || std::isinf(end_ms)) return kNone;
  int64_t tokens = 0;
  for (const RequestRecord* record : completed) {
    for (const DeltaTime& delta : record->deltas)
      tokens += delta.ms > begin_ms && delta.ms <= end_ms ? delta.tokens : 0;
  }
  return static_cast<double>(tokens) / (end_ms - begin_ms) * 1e3;
}

Spread spread(std::span<const EngineStats> samples, size_t EngineStats::*bytes) {
  Spread spread;
  spread.min = std::numeric_limits<double>::infinity();
  for (const EngineStats& sample : samples) {
    const double value = static_cast<double>(sample.*bytes);
    spread.min = std::min(spread.min, value);
    spread.max = std::max(spread.max, value);
    spread.mean += value / static_cast<double>(samples.size());
  }
  return spread;
}

PoolUse pool_use(std::span<const EngineStats> samples) {
  PoolUse use;
  use.pool_bytes = samples.front().pool_bytes;
  use.samples = static_cast<int>(samples.size());
  use.free = spread(samples, &EngineStats::free_bytes);
  use.prefill = spread(samples, &EngineStats::prefill_bytes);
  use.decode = spread(samples, &EngineStats::decode_bytes);
  use.compressed = spread(samples, &EngineStats::compressed_bytes);
  use.shared = spread(samples, &EngineStats::shared_bytes);
  use.prefix_cached = spread(samples, &EngineStats::prefix_cached_bytes);
  use.at_peak = samples.front();
  for (const EngineStats& sample : samples) {
    const size_t held =
        sample.prefill_bytes + sample.decode_bytes + sample.compressed_bytes + sample.shared_bytes;
    use.peak_used_bytes = std::max(use.peak_used_bytes, sample.pool_bytes - sample.free_bytes);
    if (held > use.peak_held_bytes) use.at_peak = sample;
    use.peak_held_bytes = std::max(use.peak_held_bytes, held);
    use.max_running = std::max(use.max_running, sample.running);
    use.max_waiting = std::max(use.max_waiting, sample.waiting);
  }
  return use;
}

}  // namespace

ServingResult summarise(std::span<const RequestRecord> records, std::span<const EngineStats> samples) {
  std::vector<const RequestRecord*> completed;
  for (const RequestRecord& record : records) {
    if (record.completed) completed.push_back(&record);
  }
  ServingResult result;
  result.completed = static_cast<int>(completed.size());
  result.failed = static_cast<int>(records.size() - completed.size());
  result.pool = pool_use(samples);
  add_latencies(result, completed);
  add_summaries(result, completed);
  const double seconds = result.duration_s;
  result.request_throughput = seconds > 0 ? result.completed / seconds : 0;
  result.output_throughput = seconds > 0 ? static_cast<double>(result.total_output_tokens) / seconds : 0;
  result.total_token_throughput =
      seconds > 0 ? static_cast<double>(result.total_input_tokens + result.total_output_tokens) / seconds : 0;
  result.decode_throughput_all_running = result.failed == 0 ? all_running_throughput(completed) : kNone;
  return result;
}

}  // namespace fastcache::bench
