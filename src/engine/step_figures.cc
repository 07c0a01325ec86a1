// SPDX-License-Identifier: Apache-2.0
// StepLoop: what an operator may see of it.
#include <algorithm>

#include "engine/step_loop.h"

namespace fastcache::engine {
namespace {

const char* stage_name(const AnswerState& answer) {
  if (answer.waiting) return "waiting";
  switch (answer.stage) {
    case Stage::prefill:
      return "prefill";
    case Stage::compress:
      return "compress";
    case Stage::decode:
      return "decode";
  }
  return "?";
}

void add_rows(const kv::Sequence& sequence, RequestFigures& figures) {
  const kv::CacheShape& shape = sequence.shape();
  for (int layer = 0; layer < shape.n_layers; ++layer) {
    for (int head = 0; head < shape.n_kv_heads; ++head)
      figures.rows_held += static_cast<size_t>(sequence.rows_held(layer, head));
  }
  figures.rows_uncompressed +=
      static_cast<size_t>(sequence.token_count()) * static_cast<size_t>(shape.n_heads());
  const kv::SequenceBytes bytes = sequence.bytes();
  figures.bytes += bytes.exclusive + bytes.shared;
}

RequestFigures figures_of(const AnswerState& answer, double now_ms) {
  const RequestState& request = *answer.request;
  return {.id = request.number,
          .stage = stage_name(answer),
          .press = request.press.name,
          .prompt_tokens = static_cast<int>(request.prompt.size()),
          .cached_tokens = request.summary.cached_tokens,
          .generated_tokens = request.summary.generated_tokens,
          .age_ms = now_ms - request.arrival_ms,
          .ttft_ms = request.first_token_ms < 0 ? 0 : request.first_token_ms - request.arrival_ms};
}

}  // namespace

EngineStats StepLoop::stats() const {
  EngineStats stats = totals_;
  const kv::PoolUsage usage = pool_.usage();
  stats.pool_bytes = usage.total;
  stats.free_bytes = usage.free;
  stats.prefill_bytes = usage.prefill;
  stats.decode_bytes = usage.decode;
  stats.compressed_bytes = usage.compressed;
  stats.shared_bytes = usage.shared;
  stats.prefix_cached_bytes = usage.prefix_cached;
  for (const auto& [id, answer] : answers_) {
    if (answer->record != nullptr) stats.query_bytes += answer->record->bytes();
    if (answer->second_pass != nullptr) stats.query_bytes += answer->second_pass->record.bytes();
    if (answer->waiting) {
      ++stats.waiting;
      continue;
    }
    ++stats.running;
    ++(answer->stage == Stage::prefill    ? stats.prefilling
       : answer->stage == Stage::compress ? stats.compressing
                                          : stats.decoding);
  }
  return stats;
}

std::vector<RequestFigures> StepLoop::figures(size_t most) const {
  std::vector<RequestFigures> all;
  const double now = now_ms();
  for (const auto& [id, answer] : answers_) {
    const uint64_t number = answer->request->number;
    auto at = std::find_if(all.rbegin(), all.rend(), [&](const auto& f) { return f.id == number; });
    if (at == all.rend()) {
      if (all.size() == most) continue;
      all.push_back(figures_of(*answer, now));
      at = all.rbegin();
    }
    add_rows(answer->sequence, *at);
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return all;
}

}  // namespace fastcache::engine
