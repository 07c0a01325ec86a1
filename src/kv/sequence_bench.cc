// SPDX-License-Identifier: Apache-2.0
// Cost of the block tables, without writing rows, in the shape of SmolLM2-135M (30 layers, 3 KV heads of 64).
#include <benchmark/benchmark.h>

#include "kv/sequence.h"

namespace fastcache::kv {
namespace {

constexpr CacheShape kShape{.n_layers = 30, .n_kv_heads = 3, .type = KvType::bf16};
constexpr int kPrompt = 1024;

PoolOptions pool_options() { return {.head_dim = 64, .bytes = size_t{512} << 20, .reserve_pages = 64}; }

bool append(Sequence& sequence, int n) { return sequence.append_text(std::vector<int32_t>(n, 1)); }

void Prefill(benchmark::State& state) {
  PagePool pool{pool_options()};
  for (auto _ : state) {
    Sequence sequence{pool, kShape};
    if (!append(sequence, kPrompt)) state.SkipWithError("pool too small");
  }
  state.SetItemsProcessed(state.iterations() * kPrompt);
}

void DecodeOneToken(benchmark::State& state) {
  PagePool pool{pool_options()};
  Sequence sequence{pool, kShape};
  for (auto _ : state) {
    if (sequence.token_count() == 2 * kPrompt) sequence.release();
    if (!append(sequence, 1)) state.SkipWithError("pool too small");
  }
}

void ForkAndRelease(benchmark::State& state) {
  PagePool pool{pool_options()};
  Sequence sequence{pool, kShape};
  if (!append(sequence, kPrompt)) state.SkipWithError("pool too small");
  for (auto _ : state) benchmark::DoNotOptimize(sequence.fork().token_count());
}

void KeepEveryFifthRow(benchmark::State& state) {
  PagePool pool{pool_options()};
  std::vector<int32_t> rows;
  for (int r = 0; r < kPrompt; r += 5) rows.push_back(r);
  for (auto _ : state) {
    state.PauseTiming();
    Sequence sequence{pool, kShape};
    if (!append(sequence, kPrompt)) state.SkipWithError("pool too small");
    state.ResumeTiming();
    for (int pair = 0; pair < kShape.n_heads(); ++pair)
      if (!sequence.keep_rows(pair / 3, pair % 3, rows)) state.SkipWithError("no page");
    state.PauseTiming();
    sequence.release();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kShape.n_heads() * static_cast<int64_t>(rows.size()));
}

BENCHMARK(Prefill)->Unit(benchmark::kMicrosecond);
BENCHMARK(DecodeOneToken)->Unit(benchmark::kMicrosecond);
BENCHMARK(ForkAndRelease)->Unit(benchmark::kMicrosecond);
BENCHMARK(KeepEveryFifthRow)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace fastcache::kv
