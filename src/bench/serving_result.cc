// SPDX-License-Identifier: Apache-2.0
#include "bench/serving_result.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/statistics.h"

namespace fastcache::bench {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

LoadFigures figures_of(std::span<const RequestRecord* const> completed, size_t n_records) {
  std::vector<RequestTiming> timings;
  for (const RequestRecord* record : completed) {
    RequestTiming& timing = timings.emplace_back();
    timing.start_ms = record->planned_ms;
    timing.deltas = record->deltas;
    timing.input_tokens = record->summary.prompt_tokens;
    for (const DeltaTime& delta : record->deltas) timing.output_tokens += delta.tokens;
  }
  return load_figures(timings, static_cast<int>(n_records - completed.size()));
}

void add_summaries(ServingResult& result, std::span<const RequestRecord* const> completed) {
  std::vector<double> queue, prefill, compress, decode;
  for (const RequestRecord* record : completed) {
    const Summary& summary = record->summary;
    queue.push_back(summary.queue_ms);
    prefill.push_back(summary.prefill_ms);
    compress.push_back(summary.compress_ms);
    decode.push_back(summary.decode_ms);
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
  static_cast<LoadFigures&>(result) = figures_of(completed, records.size());
  result.pool = pool_use(samples);
  add_summaries(result, completed);
  result.decode_throughput_all_running = result.failed == 0 ? all_running_throughput(completed) : kNone;
  return result;
}

}  // namespace fastcache::bench
