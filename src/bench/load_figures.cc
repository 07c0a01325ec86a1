// SPDX-License-Identifier: Apache-2.0
#include "bench/load_figures.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "bench/statistics.h"

namespace fastcache::bench {
namespace {

struct OneRequest {
  double ttft_ms = 0, e2el_ms = 0;
  std::optional<double> tpot_ms;

  explicit OneRequest(const RequestTiming& request)
      : ttft_ms(request.deltas.front().ms - request.start_ms),
        e2el_ms(request.deltas.back().ms - request.start_ms) {
    if (request.output_tokens > 1)
      tpot_ms = (e2el_ms - ttft_ms) / static_cast<double>(request.output_tokens - 1);
  }

  bool keeps(const Goodput& goodput) const {
    return ttft_ms <= goodput.ttft_ms && e2el_ms <= goodput.e2el_ms && tpot_ms.value_or(0) <= goodput.tpot_ms;
  }
};

}  // namespace

Latency latency_of(std::span<const double> values) {
  const std::vector<double> values_ms(values.begin(), values.end());
  const double mean_ms = mean(values_ms);
  std::vector<double> squares;
  for (double value : values_ms) squares.push_back((value - mean_ms) * (value - mean_ms));
  return {.mean_ms = mean_ms,
          .median_ms = percentile(values_ms, 50),
          .std_ms = std::sqrt(mean(squares)),
          .p99_ms = percentile(values_ms, 99)};
}

bool Goodput::is_asked_for() const {
  return std::isfinite(ttft_ms) || std::isfinite(tpot_ms) || std::isfinite(e2el_ms);
}

Goodput parse_goodput(const std::vector<std::string>& limits) {
  Goodput goodput;
  for (const std::string& limit : limits) {
    const size_t colon = std::min(limit.find(':'), limit.size());
    const std::string name = limit.substr(0, colon);
    double* ms = nullptr;
    if (name == "ttft") ms = &goodput.ttft_ms;
    if (name == "tpot") ms = &goodput.tpot_ms;
    if (name == "e2el") ms = &goodput.e2el_ms;
    const char* const end = limit.data() + limit.size();
    double value = -1;
    const auto [at, error] = std::from_chars(std::min(limit.data() + colon + 1, end), end, value);
    if (ms == nullptr || error != std::errc() || at != end || !(value >= 0 && std::isfinite(value))) {
      throw Error{
          Code::bad_request,
          fmt::format("--goodput {}: it must be ttft:MS, tpot:MS or e2el:MS, such as ttft:500", limit)};
    }
    *ms = value;
  }
  return goodput;
}

LoadFigures load_figures(std::span<const RequestTiming> completed, int failed, const Goodput& goodput) {
  LoadFigures figures;
  figures.completed = static_cast<int>(completed.size());
  figures.failed = failed;
  std::vector<double> ttft, tpot, itl, e2el;
  int good = 0;
  for (const RequestTiming& request : completed) {
    const OneRequest one(request);
    ttft.push_back(one.ttft_ms);
    e2el.push_back(one.e2el_ms);
    if (one.tpot_ms) tpot.push_back(*one.tpot_ms);
    for (size_t i = 1; i < request.deltas.size(); ++i)
      itl.push_back(request.deltas[i].ms - request.deltas[i - 1].ms);
    good += one.keeps(goodput) ? 1 : 0;
    figures.total_input_tokens += request.input_tokens;
    figures.total_output_tokens += request.output_tokens;
    figures.duration_s = std::max(figures.duration_s, request.deltas.back().ms / 1e3);
  }
  figures.ttft = latency_of(ttft);
  figures.tpot = latency_of(tpot);
  figures.itl = latency_of(itl);
  figures.e2el = latency_of(e2el);
  if (figures.duration_s > 0) {
    const auto per_second = [&](int64_t n) { return static_cast<double>(n) / figures.duration_s; };
    figures.request_throughput = per_second(figures.completed);
    figures.request_goodput = per_second(good);
    figures.output_throughput = per_second(figures.total_output_tokens);
    figures.total_token_throughput = per_second(figures.total_input_tokens + figures.total_output_tokens);
  }
  return figures;
}

}  // namespace fastcache::bench
