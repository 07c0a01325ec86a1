// SPDX-License-Identifier: Apache-2.0
#include "engine/bit_tuning.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "model/runner.h"

namespace fastcache::engine {
namespace {

constexpr size_t kChunkTokens = 512;

void check_tokens(const model::HParams& hparams, size_t n_tokens, const BitTuningOptions& options) {
  const size_t least = static_cast<size_t>(options.n_residual) + 128;  // a page of any type
  if (n_tokens < least)
    throw Error{
        Code::bad_request,
        fmt::format("the text has {} tokens; to measure bits it must have {}: {} that stay as they are "
                    "and 128 to quantise",
                    n_tokens, least, options.n_residual)};
  if (n_tokens > static_cast<size_t>(hparams.context_length))
    throw Error{Code::context_too_long, fmt::format("the text has {} tokens; the model's context holds {}",
                                                    n_tokens, hparams.context_length)};
}

size_t pool_bytes(const model::HParams& hparams, size_t n_tokens) {
  const size_t rows = kv::rows_per_page(kv::KvType::bf16);
  const size_t pages_per_head = (n_tokens + rows - 1) / rows;
  return pages_per_head * hparams.n_layers * hparams.n_kv_heads * kv::page_payload_bytes(hparams.head_dim);
}

}  // namespace

BitTuning tune_bits(const model::LoadedModel& model, ComputePool& compute, std::span<const int32_t> tokens,
                    const BitTuningOptions& options) {
  const model::HParams& hparams = model.hparams;
  check_tokens(hparams, tokens.size(), options);
  press::choose_layer_bits({}, options.average_bits);  // refuses it before the work
  kv::PagePool pool({.head_dim = hparams.head_dim, .bytes = pool_bytes(hparams, tokens.size())});
  kv::Sequence sequence(pool, model::cache_shape(hparams, kv::KvType::bf16));
  model::Runner runner(hparams, *model.family, pool, compute);
  const int n_tokens = static_cast<int>(tokens.size());
  model::QueryRecord record{
      .attention = runner.attention(),
      .last = {hparams.n_layers, hparams.n_heads, hparams.head_dim, n_tokens - options.n_queries, n_tokens}};
  for (size_t first = 0; first < tokens.size(); first += kChunkTokens) {
    const auto chunk = tokens.subspan(first, std::min(kChunkTokens, tokens.size() - first));
    if (!sequence.append_text(chunk)) throw Error{Code::internal, "the pool for measuring bits is too small"};
    const int32_t last = static_cast<int32_t>(chunk.size()) - 1;
    const model::StepSequence step{
        .sequence = &sequence, .n_new = last + 1, .logit_rows = std::span(&last, 1), .record = &record};
    runner.run(std::span(&step, 1));
  }
  BitTuning tuning;
  tuning.errors = press::measure_bit_errors(pool, sequence, record, options.n_residual, compute);
  tuning.layer_bits = press::choose_layer_bits(tuning.errors, options.average_bits);
  return tuning;
}

}  // namespace fastcache::engine
