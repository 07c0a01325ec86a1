// SPDX-License-Identifier: Apache-2.0
// Cost of compressing one prompt of 4,000 tokens in the shape of SmolLM2-135M (30 layers, 9 heads, 3 KV heads
// of 64), per press: the plan (scores and selection), and all of it.
#include <benchmark/benchmark.h>

#include <random>

#include "press/compress.h"
#include "press/press_string.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

constexpr kv::CacheShape kShape{.n_layers = 30, .n_kv_heads = 3, .type = kv::KvType::bf16};
constexpr int kHeadDim = 64;

struct Prompt {
  explicit Prompt(int n_tokens) : sequence(pool, kShape) {
    if (!sequence.append_text(std::vector<int32_t>(n_tokens, 1))) std::abort();
    std::mt19937_64 random{1};
    std::normal_distribution<float> normal;
    std::vector<float> row(2 * kHeadDim);
    for (int pair = 0; pair < kShape.n_heads(); ++pair)
      for (int i = 0; i < n_tokens; ++i) {
        const kv::RowSlot slot = sequence.slot(pair / 3, pair % 3, i);
        for (float& x : row) x = normal(random);
        write_row(slot.page, slot.type, kHeadDim, slot.row, row.data(), row.data() + kHeadDim);
      }
  }
  kv::PagePool pool{{.head_dim = kHeadDim, .bytes = size_t{128} << 20}};
  kv::Sequence sequence;
};

constexpr int kHeads = 9;  // 3 query heads per KV head

// As steps of 512 tokens do. queries: [n_tokens, head_dim], the same for all heads.
void add_moments(model::QueryMoments& moments, std::span<const float> queries, int n_tokens) {
  for (int token = 0; token < n_tokens; token += 512)
    for (int i = 0; i < kShape.n_layers * kHeads * kHeadDim / model::QueryMoments::kPartChannels; ++i) {
      const int n_parts = kHeadDim / model::QueryMoments::kPartChannels;
      moments.add(i / n_parts / kHeads, i / n_parts % kHeads, i % n_parts, token,
                  std::min(512, n_tokens - token), &queries[static_cast<size_t>(token) * kHeadDim], kHeadDim);
    }
}

// What is kept for the presses here, as far back as any asks by default.
model::QueryRecord make_record(int n_tokens) {
  constexpr int kKept = 64;
  model::QueryRecord record{
      .attention = {.n_heads = kHeads, .n_kv_heads = 3, .head_dim = kHeadDim, .scale = 0.125f},
      .last = {kShape.n_layers, kHeads, kHeadDim, n_tokens - kKept, n_tokens}};
  std::mt19937_64 random{2};
  std::normal_distribution<float> normal;
  std::vector<float> query(kHeads * kHeadDim);
  for (int layer = 0; layer < kShape.n_layers; ++layer) {
    std::vector<float> common(query.size());  // as in a model: what one query attends to, others do too
    for (float& x : common) x = normal(random);
    for (int token = n_tokens - kKept; token < n_tokens; ++token) {
      for (size_t i = 0; i < query.size(); ++i) query[i] = common[i] + normal(random);
      record.last.set(layer, token, query.data());
    }
  }
  record.moments = {kShape.n_layers, kHeads, kHeadDim, 4, n_tokens};
  std::vector<float> queries(static_cast<size_t>(n_tokens) * kHeadDim);
  for (float& x : queries) x = normal(random);
  add_moments(record.moments, queries, n_tokens);
  return record;
}

// W_O, the same for all layers, as Q4_1: what the model's file has.
struct OutputWeights {
  OutputWeights() {
    constexpr int kBlockBytes = 20, kWidth = kHeads * kHeadDim;  // f16 scale, f16 min, 32 codes of 4 bits
    std::vector<uint8_t> file(static_cast<size_t>(kWidth) * kWidth / 32 * kBlockBytes);
    std::mt19937_64 random{3};
    for (size_t i = 0; i < file.size(); ++i) file[i] = static_cast<uint8_t>(random());
    for (size_t block = 0; block < file.size(); block += kBlockBytes) {
      file[block + 1] = 0x24;  // 1/64 and more
      file[block + 3] = 0xb0;  // -1/8 and less
    }
    const linear::WeightSource source{
        .ggml_type = 3, .data = file.data(), .n_out = kWidth, .n_in = kWidth, .name = "attn_output"};
    matrix = linear::pack({&source, 1});
    layers.assign(kShape.n_layers, &matrix);
  }
  linear::PackedMatrix matrix;
  std::vector<const linear::PackedMatrix*> layers;
};

// At ratio 0.8 where a press takes one.
PressParams params_of(const std::string& text) {
  PressParams params = parse_press(text);
  const PressRow& row = find_press(params.name);
  if (row.removes && row.amount == Amount::own) params.ratio = 0.8;
  return complete(params);
}

// What the compress stage does before it moves rows: scores, counts, selection. Arguments: prompt tokens,
// threads.
void plan(benchmark::State& state, const std::string& text) {
  const int n_tokens = static_cast<int>(state.range(0));
  Prompt prompt(n_tokens);
  ComputePool threads{static_cast<int>(state.range(1))};
  const PressParams params = params_of(text);
  const auto press = make_press(params);
  const model::QueryRecord record = make_record(n_tokens);
  const OutputWeights output;
  const CompressJob job{.press = press.get(),
                        .budget = params.how_much(),
                        .pool = &prompt.pool,
                        .sequence = &prompt.sequence,
                        .record = &record,
                        .output_weights = output.layers};
  for (auto _ : state) benchmark::DoNotOptimize(plan_compression(job, threads));
}

void whole(benchmark::State& state, const std::string& text) {
  const int n_tokens = static_cast<int>(state.range(0));
  ComputePool threads{static_cast<int>(state.range(1))};
  const PressParams params = params_of(text);
  const auto press = make_press(params);
  const model::QueryRecord record = make_record(n_tokens);
  const OutputWeights output;
  for (auto _ : state) {
    state.PauseTiming();
    {
      Prompt prompt(n_tokens);
      const CompressJob job{.press = press.get(),
                            .budget = params.how_much(),
                            .pool = &prompt.pool,
                            .sequence = &prompt.sequence,
                            .record = &record,
                            .output_weights = output.layers};
      state.ResumeTiming();
      if (!compress(job, threads).uncommitted.empty()) state.SkipWithError("no page");
      state.PauseTiming();
    }
    state.ResumeTiming();
  }
}

// What the steps of such a prompt pay for query statistics, on one thread.
void query_statistics(benchmark::State& state) {
  constexpr int kTokens = 4000;
  std::vector<float> queries(size_t{kTokens} * kHeadDim, 0.5f);
  for (auto _ : state) {
    model::QueryMoments moments(kShape.n_layers, kHeads, kHeadDim, 4, kTokens);
    add_moments(moments, queries, kTokens);
    benchmark::DoNotOptimize(moments);
  }
}
BENCHMARK(query_statistics)->Unit(benchmark::kMillisecond);

// Each as it is, each wrapper around keydiff.
std::vector<std::string> texts() {
  std::vector<std::string> texts{"composed(knorm(ratio=0.5), keydiff(ratio=0.6))",
                                 "criticalkv(snapkv)",
                                 "criticalkv(expected_attention)",
                                 "criticalkv(adakv(snapkv))",
                                 "quantized(bits=4)",
                                 "quantized(bits=2)"};
  for (const PressRow* row : presses()) {
    if (!row->removes || row->name.starts_with("test_") || row->amount != Amount::own) continue;
    texts.push_back(row->wrap == nullptr ? std::string{row->name} : std::string{row->name} + "(keydiff)");
  }
  return texts;
}

void register_all() {
  for (const std::string& text : texts())
    for (auto* of : {&plan, &whole}) {
      auto* made = benchmark::RegisterBenchmark(((of == &plan ? "plan/" : "whole/") + text).c_str(),
                                                [of, text](benchmark::State& state) { of(state, text); });
      made->ArgNames({"tokens", "threads"})->Args({4000, 1})->Args({4000, 2})->Unit(benchmark::kMillisecond);
      made->UseRealTime()->MeasureProcessCPUTime();
      if (of == &whole) made->Iterations(5);
    }
}

const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace fastcache::press
