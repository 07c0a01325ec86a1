// SPDX-License-Identifier: Apache-2.0
// Cost of compressing one prompt of 4,000 tokens in the shape of SmolLM2-135M (30 layers, 3 KV heads of 64),
// on one thread: the plan (scores and selection), and all of it.
#include <benchmark/benchmark.h>

#include <random>

#include "press/compress.h"
#include "press/press_string.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

constexpr kv::CacheShape kShape{.n_layers = 30, .n_kv_heads = 3, .type = kv::KvType::bf16};
constexpr int kHeadDim = 64;
constexpr int kPrompt = 4000;

struct Prompt {
  Prompt() : sequence(pool, kShape) {
    if (!sequence.append_text(std::vector<int32_t>(kPrompt, 1))) std::abort();
    std::mt19937_64 random{1};
    std::normal_distribution<float> normal;
    std::vector<float> row(2 * kHeadDim);
    for (int pair = 0; pair < kShape.n_heads(); ++pair)
      for (int i = 0; i < kPrompt; ++i) {
        const kv::RowSlot slot = sequence.slot(pair / 3, pair % 3, i);
        for (float& x : row) x = normal(random);
        write_row(slot.page, slot.type, kHeadDim, slot.row, row.data(), row.data() + kHeadDim);
      }
  }
  kv::PagePool pool{{.head_dim = kHeadDim, .bytes = size_t{256} << 20}};
  kv::Sequence sequence;
};

void plan(benchmark::State& state, const char* text) {
  Prompt prompt;
  ComputePool threads{1};
  PressParams params = parse_press(text);
  if (find_press(params.name).amount == Amount::own) params.ratio = 0.8;
  const auto press = make_press(params);
  const CompressJob job{press.get(), complete(params).how_much(), &prompt.pool, &prompt.sequence};
  for (auto _ : state) benchmark::DoNotOptimize(plan_compression(job, threads));
}

void whole(benchmark::State& state, const char* name) {
  ComputePool threads{1};
  const PressParams params{.name = name, .ratio = 0.8};
  const auto press = make_press(params);
  for (auto _ : state) {
    state.PauseTiming();
    {
      Prompt prompt;
      const CompressJob job{press.get(), complete(params).how_much(), &prompt.pool, &prompt.sequence};
      state.ResumeTiming();
      if (!compress(job, threads).uncommitted.empty()) state.SkipWithError("no page");
      state.PauseTiming();
    }
    state.ResumeTiming();
  }
}

BENCHMARK_CAPTURE(plan, random, "random")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, streaming_llm, "streaming_llm")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, knorm, "knorm")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, keydiff, "keydiff")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, lagkv, "lagkv")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, cur, "cur")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, adakv, "adakv(keydiff)")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, chunkkv, "chunkkv(keydiff)")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, chunk, "chunk(keydiff)")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan, composed, "composed(knorm(ratio=0.5), keydiff(ratio=0.6))")
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(whole, random, "random")->Unit(benchmark::kMillisecond)->Iterations(20);
BENCHMARK_CAPTURE(whole, knorm, "knorm")->Unit(benchmark::kMillisecond)->Iterations(20);

}  // namespace
}  // namespace fastcache::press
