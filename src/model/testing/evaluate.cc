// SPDX-License-Identifier: Apache-2.0
#include "model/testing/evaluate.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

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
  Runner runner(model.hparams, *model.family, pool, compute);
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
      const StepSequence step{.sequence = &sequence, .n_new = static_cast<int>(n), .logit_rows = rows};
      chunk(static_cast<int>(begin), runner.run(std::span(&step, 1)));
      begin += n;
    }
  }
  if (pool.free_pages() != pool.n_pages())
    throw std::runtime_error("the pool is not empty after the sequence is gone");
}

std::vector<float> logits_of(TestModel& model, std::span<const int32_t> tokens,
                             const EvaluateOptions& options) {
  std::vector<float> all;
  evaluate(model, tokens, options,
           [&](int, std::span<const float> logits) { all.insert(all.end(), logits.begin(), logits.end()); });
  return all;
}

}  // namespace fastcache::model::test_support
