// SPDX-License-Identifier: Apache-2.0
#include "model/testing/evaluate.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "model/windows.h"

namespace fastcache::model::test_support {

TestModel::TestModel(const std::string& path, int n_threads)
    : file(path),
      hparams(read_hparams(file)),
      compute(n_threads),
      family(load_family(file, hparams, compute)) {}

void evaluate(TestModel& model, std::span<const int32_t> tokens, const EvaluateOptions& options,
              const OnChunk& chunk) {
  const kv::CacheShape shape = cache_shape(model.hparams, options.kv_type);
  const size_t pages =
      (tokens.size() / static_cast<size_t>(shape.rows()) + 1) * static_cast<size_t>(shape.n_heads());
  const size_t page_bytes =
      kv::page_payload_bytes(model.hparams.head_dim) + kv::page_side_bytes(options.kv_type);
  kv::PagePool pool(
      {.head_dim = model.hparams.head_dim, .bytes = pages * page_bytes, .types = {options.kv_type}});
  ComputePool compute(options.n_threads);
  Runner runner(model.hparams, *model.family, pool, compute, options.lora);
  {
    kv::Sequence sequence(pool, shape);
    size_t begin = 0;
    for (size_t i = 0; begin < tokens.size(); ++i) {
      const int size = options.chunks[std::min(i, options.chunks.size() - 1)];
      const size_t n = std::min(tokens.size() - begin, static_cast<size_t>(size));
      if (!sequence.append_text(tokens.subspan(begin, n)))
        throw std::runtime_error("the test's pool is too small");
      std::vector<int32_t> rows(n);
      std::iota(rows.begin(), rows.end(), 0);
      const StepSequence step{.sequence = &sequence,
                              .n_new = static_cast<int>(n),
                              .logit_rows = rows,
                              .adapted = options.adapted};
      chunk(static_cast<int>(begin), runner.run(std::span(&step, 1)));
      if (options.free_unseen) free_unseen_pages(model.hparams, sequence);
      begin += n;
    }
  }
  if (pool.free_pages() != pool.n_pages())
    throw std::runtime_error("the pool is not empty after the sequence is gone");
}

void evaluate_together(TestModel& model, std::span<const std::vector<int32_t>> texts,
                       const EvaluateOptions& options, std::mt19937& random, const OnRow& row) {
  const kv::CacheShape shape = cache_shape(model.hparams, options.kv_type);
  kv::PagePool pool(
      {.head_dim = model.hparams.head_dim, .bytes = size_t{64} << 20, .types = {options.kv_type}});
  ComputePool compute(options.n_threads);
  Runner runner(model.hparams, *model.family, pool, compute, options.lora);
  const size_t n_vocab = static_cast<size_t>(model.hparams.n_vocab);
  std::vector<kv::Sequence> sequences;
  for (size_t i = 0; i < texts.size(); ++i) sequences.emplace_back(pool, shape);
  for (bool all_done = false; !all_done;) {
    all_done = true;
    std::vector<StepSequence> step;
    std::vector<int32_t> last_rows(texts.size());
    std::vector<int> in_step;
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto done = static_cast<size_t>(sequences[i].token_count());
      const size_t n = std::min(texts[i].size() - done, static_cast<size_t>(random() % 70));
      all_done = all_done && done + n == texts[i].size();
      if (n == 0) continue;
      if (!sequences[i].append_text(std::span(texts[i]).subspan(done, n)))
        throw std::runtime_error("the pool of the test is too small");
      last_rows[i] = static_cast<int32_t>(n) - 1;
      step.push_back({.sequence = &sequences[i],
                      .n_new = static_cast<int>(n),
                      .logit_rows = std::span(&last_rows[i], 1),
                      .adapted = !options.adapts_text.empty() && options.adapts_text[i]});
      in_step.push_back(static_cast<int>(i));
    }
    if (step.empty()) continue;
    const std::span<const float> logits = runner.run(step);
    for (size_t i = 0; i < in_step.size(); ++i) {
      kv::Sequence& sequence = sequences[static_cast<size_t>(in_step[i])];
      row(in_step[i], sequence.token_count() - 1, logits.subspan(i * n_vocab, n_vocab));
      if (options.free_unseen) free_unseen_pages(model.hparams, sequence);
    }
  }
}

std::vector<float> logits_of(TestModel& model, std::span<const int32_t> tokens,
                             const EvaluateOptions& options) {
  std::vector<float> all;
  evaluate(model, tokens, options,
           [&](int, std::span<const float> logits) { all.insert(all.end(), logits.begin(), logits.end()); });
  return all;
}

}  // namespace fastcache::model::test_support
