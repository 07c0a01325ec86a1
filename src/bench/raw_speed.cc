// SPDX-License-Identifier: Apache-2.0
#include "bench/raw_speed.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "bench/statistics.h"
#include "engine/sampler.h"
#include "model/runner.h"

namespace fastcache::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Pages that a sequence of n tokens takes.
size_t pages_for(const kv::CacheShape& shape, int n) {
  return static_cast<size_t>((n + shape.rows() - 1) / shape.rows()) * static_cast<size_t>(shape.n_heads());
}

constexpr int kWarmUpDecode = 4;  // steps

size_t largest_case_pages(const kv::CacheShape& shape, const RawBenchCases& cases,
                          const RawBenchOptions& options) {
  size_t pages = pages_for(shape, options.chunk_tokens);
  for (int n : cases.prefill_tokens) pages = std::max(pages, pages_for(shape, n));
  for (int depth : cases.decode_depths)
    pages = std::max(pages, pages_for(shape, depth + std::max(options.decode_tokens + 1, kWarmUpDecode)));
  for (const BatchCase& batch : cases.batches) {
    pages = std::max(pages, static_cast<size_t>(batch.sequences) *
                                pages_for(shape, batch.prompt_tokens + batch.generated_tokens));
  }
  return pages;
}

class RawBench {
 public:
  RawBench(const model::LoadedModel& model, ComputePool& compute, const RawBenchOptions& options,
           size_t pool_bytes)
      : model_(model),
        options_(options),
        shape_(model::cache_shape(model.hparams, options.kv_type)),
        pool_({.head_dim = model.hparams.head_dim,
               .bytes = pool_bytes,
               .types = {options.kv_type},
               .touch = true}),
        runner_(model.hparams, *model.family, pool_, compute, options.lora) {
    runner_.set_profiling(options.profile);
  }

  double prefill_s(int n) {
    std::vector<kv::Sequence> sequences = make_sequences(1);
    const Clock::time_point start = Clock::now();
    prefill(sequences, random_prompts(1, n), start);
    return seconds_since(start);
  }

  double decode_s(int depth) {
    std::vector<kv::Sequence> sequences = make_sequences(1);
    std::vector<int32_t> next{1};
    if (depth > 0) next = prefill(sequences, random_prompts(1, depth), Clock::now()).next;
    decode(sequences, next, kWarmUpDecode);  // warm-up: buffers and branch predictors of the decode shape
    for (kv::Sequence& sequence : sequences) sequence.truncate_to(depth);
    const Clock::time_point start = Clock::now();
    decode(sequences, next, options_.decode_tokens);
    return seconds_since(start);
  }

  BatchResult batch(const BatchCase& shape) {
    std::vector<kv::Sequence> sequences = make_sequences(shape.sequences);
    const auto prompts = random_prompts(shape.sequences, shape.prompt_tokens);
    const Clock::time_point start = Clock::now();
    Prefilled first = prefill(sequences, prompts, start);
    const double prefill_s = seconds_since(start);
    decode(sequences, first.next, shape.generated_tokens - 1);
    const double total_s = seconds_since(start);
    const double n = shape.sequences;
    return {.shape = shape,
            .seconds = total_s,
            .prefill_tokens_per_s = n * shape.prompt_tokens / prefill_s,
            .decode_tokens_per_s = n * (shape.generated_tokens - 1) / std::max(total_s - prefill_s, 1e-9),
            .ttft_p50_ms = percentile(first.ttft_ms, 50),
            .ttft_p99_ms = percentile(first.ttft_ms, 99)};
  }

  std::vector<model::StepGraph::ProfileRow> take_profile() { return runner_.take_profile(); }

 private:
  struct Prefilled {
    std::vector<int32_t> next;  // the first token of each answer
    std::vector<double> ttft_ms;
  };

  std::vector<kv::Sequence> make_sequences(int n) {
    std::vector<kv::Sequence> sequences;
    for (int i = 0; i < n; ++i) sequences.emplace_back(pool_, shape_);
    return sequences;
  }

  std::vector<std::vector<int32_t>> random_prompts(int n, int length) {
    std::mt19937 random(1);
    std::uniform_int_distribution<int32_t> token(0, model_.hparams.n_vocab - 1);
    std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(n),
                                              std::vector<int32_t>(static_cast<size_t>(length)));
    for (auto& prompt : prompts) {
      for (int32_t& id : prompt) id = token(random);
    }
    return prompts;
  }

  static void append(kv::Sequence& sequence, std::span<const int32_t> tokens) {
    if (!sequence.append_text(tokens)) {
      throw Error{Code::pool_too_small,
                  "the KV pool is too small for this benchmark; leave out --pool or give it more"};
    }
  }

  // Chunks of one prompt after the other fill each step up to the token budget, as a server would with a full
  // queue.
  Prefilled prefill(std::vector<kv::Sequence>& sequences, const std::vector<std::vector<int32_t>>& prompts,
                    Clock::time_point start) {
    Prefilled result;
    std::vector<model::StepSequence> step;
    int budget = options_.chunk_tokens;
    static constexpr int32_t kNoRow = -1;
    std::vector<int32_t> last_row(prompts.size(), kNoRow);
    const auto flush = [&] {
      if (step.empty()) return;
      const std::span<const float> logits = runner_.run(step);
      const size_t n_vocab = static_cast<size_t>(model_.hparams.n_vocab);
      for (size_t i = 0; i < logits.size() / n_vocab; ++i) {
        result.next.push_back(engine::argmax(logits.subspan(i * n_vocab, n_vocab)));
        result.ttft_ms.push_back(seconds_since(start) * 1e3);
      }
      step.clear();
      budget = options_.chunk_tokens;
    };
    for (size_t s = 0; s < prompts.size(); ++s) {
      for (size_t done = 0; done < prompts[s].size();) {
        const size_t n = std::min(prompts[s].size() - done, static_cast<size_t>(budget));
        append(sequences[s], std::span(prompts[s]).subspan(done, n));
        done += n;
        budget -= static_cast<int>(n);
        const bool complete = done == prompts[s].size();
        last_row[s] = static_cast<int32_t>(n) - 1;
        step.push_back(
            {.sequence = &sequences[s],
             .n_new = static_cast<int>(n),
             .logit_rows = complete ? std::span<const int32_t>(&last_row[s], 1) : std::span<const int32_t>(),
             .adapted = options_.lora != nullptr});
        if (budget == 0) flush();
      }
    }
    flush();
    return result;
  }

  void decode(std::vector<kv::Sequence>& sequences, std::vector<int32_t> next, int n_steps) {
    static constexpr int32_t kFirstRow = 0;
    const size_t n_vocab = static_cast<size_t>(model_.hparams.n_vocab);
    std::vector<model::StepSequence> step;
    for (int i = 0; i < n_steps; ++i) {
      step.clear();
      for (size_t s = 0; s < sequences.size(); ++s) {
        append(sequences[s], std::span(&next[s], 1));
        step.push_back({.sequence = &sequences[s],
                        .n_new = 1,
                        .logit_rows = std::span(&kFirstRow, 1),
                        .adapted = options_.lora != nullptr});
      }
      const std::span<const float> logits = runner_.run(step);
      for (size_t s = 0; s < sequences.size(); ++s)
        next[s] = engine::argmax(logits.subspan(s * n_vocab, n_vocab));
    }
  }

  const model::LoadedModel& model_;
  RawBenchOptions options_;
  kv::CacheShape shape_;
  kv::PagePool pool_;
  model::Runner runner_;
};

void check_cases(const model::LoadedModel& model, const RawBenchCases& cases,
                 const RawBenchOptions& options) {
  const auto check = [&](int64_t n, const char* what) {
    if (n > model.hparams.context_length) {
      throw Error{Code::context_too_long,
                  fmt::format("{} of {} tokens is longer than the model's context of {}", what, n,
                              model.hparams.context_length)};
    }
    if (n < 1) throw Error{Code::bad_request, fmt::format("{} of {} tokens; it must be at least 1", what, n)};
  };
  for (int n : cases.prefill_tokens) check(n, "prefill");
  for (int depth : cases.decode_depths) {
    if (depth < 0)
      throw Error{Code::bad_request, fmt::format("decode at depth {}; it must be at least 0", depth)};
    check(int64_t{depth} + std::max(options.decode_tokens + 1, kWarmUpDecode), "decode");
  }
  for (const BatchCase& batch : cases.batches) {
    check(batch.sequences, "a batch");
    check(batch.prompt_tokens, "a batch's prompt");
    check(int64_t{batch.prompt_tokens} + batch.generated_tokens, "a batch's prompt and answer");
  }
}

template <typename Measure>
double median_of(int repeats, const Measure& measure) {
  std::vector<double> values;
  for (int i = 0; i < repeats; ++i) values.push_back(measure());
  return percentile(values, 50);
}

BatchResult median_batch(std::vector<BatchResult> results) {
  const auto middle = results.begin() + static_cast<std::ptrdiff_t>(results.size() / 2);
  std::nth_element(results.begin(), middle, results.end(),
                   [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
  return *middle;
}

}  // namespace

RawBenchResults run_raw_bench(const model::LoadedModel& model, ComputePool& compute,
                              const RawBenchCases& cases, const RawBenchOptions& options) {
  check_cases(model, cases, options);
  const kv::CacheShape shape = model::cache_shape(model.hparams, options.kv_type);
  const size_t page_bytes =
      kv::page_payload_bytes(model.hparams.head_dim) + kv::page_side_bytes(options.kv_type);
  const size_t needed = largest_case_pages(shape, cases, options) * page_bytes;
  RawBench bench(model, compute, options, options.pool_bytes != 0 ? options.pool_bytes : needed);
  RawBenchResults results;
  // Warm-up, as llama-bench has it: the first step of a size takes its buffers from the system.
  bench.prefill_s(std::min(options.chunk_tokens, model.hparams.context_length));
  for (int n : cases.prefill_tokens) {
    options.progress(fmt::format("prefill {}", n));
    bench.prefill_s(n);
    results.prefill.push_back({n, n / median_of(options.repeats, [&] { return bench.prefill_s(n); })});
  }
  for (int depth : cases.decode_depths) {
    options.progress(fmt::format("decode at depth {}", depth));
    const double seconds = median_of(options.repeats, [&] { return bench.decode_s(depth); });
    results.decode.push_back({depth, options.decode_tokens / seconds});
  }
  for (const BatchCase& shape_case : cases.batches) {
    options.progress(fmt::format("batch {} x ({} + {})", shape_case.sequences, shape_case.prompt_tokens,
                                 shape_case.generated_tokens));
    std::vector<BatchResult> repeats;
    for (int i = 0; i < options.repeats; ++i) repeats.push_back(bench.batch(shape_case));
    results.batches.push_back(median_batch(std::move(repeats)));
  }
  results.profile = bench.take_profile();
  return results;
}

}  // namespace fastcache::bench
