// SPDX-License-Identifier: Apache-2.0
#include "bench/http_load_result.h"

#include <algorithm>

#include "base/log.h"

namespace fastcache::bench {
namespace {

std::string kind(const HttpRecord& record) {
  if (record.status == 0) return "no answer";
  return record.status == 200 ? "broken answer" : fmt::format("HTTP {}", record.status);
}

void add_failure(std::vector<LoadFailure>& failures, const HttpRecord& record) {
  const std::string of = kind(record);
  auto found =
      std::find_if(failures.begin(), failures.end(), [&](const auto& known) { return known.kind == of; });
  if (found == failures.end())
    found = failures.insert(found, {.kind = of, .first_message = record.answer.error});
  ++found->count;
}

}  // namespace

HttpLoadResult summarise(const HttpLoadRun& run, const std::vector<LoadBody>& bodies,
                         const Goodput& goodput) {
  std::vector<RequestTiming> timings;
  std::vector<LoadFailure> failures;
  std::vector<double> beside_engine_ms;
  int failed = 0, not_finished = 0, without_usage = 0, short_answers = 0;
  for (size_t i = 0; i < run.records.size(); ++i) {
    const HttpRecord& record = run.records[i];
    const StreamedAnswer& answer = record.answer;
    if (record.state == HttpRecord::State::failed) {
      ++failed;
      add_failure(failures, record);
      continue;
    }
    if (record.state != HttpRecord::State::completed) {
      ++not_finished;
      continue;
    }
    RequestTiming& timing = timings.emplace_back();
    timing.start_ms = record.start_ms;
    timing.deltas = answer.deltas;
    timing.input_tokens = answer.prompt_tokens.value_or(bodies[i].prompt_tokens);
    timing.output_tokens = answer.output_tokens.value_or(static_cast<int64_t>(answer.deltas.size()));
    if (answer.engine_ttft_ms)
      beside_engine_ms.push_back(answer.deltas.front().ms - record.start_ms - *answer.engine_ttft_ms);
    without_usage += answer.output_tokens ? 0 : 1;
    short_answers += timing.output_tokens < bodies[i].generate_tokens ? 1 : 0;
  }
  HttpLoadResult result;
  static_cast<LoadFigures&>(result) = load_figures(timings, failed, goodput);
  result.not_finished = not_finished;
  result.without_usage = without_usage;
  result.short_answers = short_answers;
  result.most_in_flight = run.most_in_flight;
  result.connects = run.connects;
  result.ttft_beside_engine = latency_of(beside_engine_ms);
  std::stable_sort(failures.begin(), failures.end(),
                   [](const auto& a, const auto& b) { return a.count > b.count; });
  result.failures = std::move(failures);
  return result;
}

}  // namespace fastcache::bench
