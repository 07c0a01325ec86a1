// SPDX-License-Identifier: Apache-2.0
#include "eval/workbench.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "model/windows.h"
#include "press/compress.h"
#include "press/prefill_record.h"

namespace fastcache::eval {
namespace {

constexpr int kReservePages = 8;
constexpr int kMostTries = 6;         // of a ratio
constexpr double kMostAbove = 1.01;   // of the target
constexpr double kNearEnough = 0.99;  // of the target
constexpr double kHighestRatio = 0.999;

kv::PoolOptions pool_options(const model::HParams& hparams, const kv::CacheShape& shape,
                             const WorkbenchOptions& options) {
  const size_t rows = static_cast<size_t>(kv::rows_per_page(options.kv_type));
  const size_t pages_per_head = (static_cast<size_t>(options.capacity_tokens) + rows - 1) / rows +
                                2 * static_cast<size_t>(options.max_sequences);
  const size_t page_bytes = kv::page_payload_bytes(hparams.head_dim) + kv::page_side_bytes(options.kv_type);
  return {.head_dim = hparams.head_dim,
          .bytes = (pages_per_head * static_cast<size_t>(shape.n_heads()) + kReservePages) * page_bytes,
          .types = {options.kv_type},
          .reserve_pages = kReservePages};
}

// Of two forks the one to take: that holds most without holding too much, else that holds least.
bool is_better(size_t bytes, size_t than, size_t target) {
  const auto fits = [&](size_t held) {
    return static_cast<double>(held) <= kMostAbove * static_cast<double>(target);
  };
  if (fits(bytes) != fits(than)) return fits(bytes);
  return fits(bytes) ? bytes > than : bytes < than;
}

}  // namespace

Workbench::Workbench(const model::LoadedModel& model, ComputePool& threads, const WorkbenchOptions& options)
    : model_(model),
      threads_(threads),
      options_(options),
      shape_(model::cache_shape(model.hparams, options.kv_type)),
      pool_(pool_options(model.hparams, shape_, options)),
      runner_(model.hparams, *model.family, pool_, threads, options.lora),
      output_weights_(model.family->output_weights()) {}

std::span<const float> Workbench::feed(std::span<const Feed> feeds, Logits logits) {
  std::vector<model::StepSequence> step;
  std::vector<std::vector<int32_t>> rows(feeds.size());
  for (size_t i = 0; i < feeds.size(); ++i) {
    const Feed& feed = feeds[i];
    const size_t n_tokens = std::max(feed.tokens.size(), feed.placed.size());
    const int n = static_cast<int>(n_tokens), begin = feed.sequence->token_count();
    if (feed.record != nullptr) press::expect_step(*feed.record, shape_.n_layers, {begin, begin + n});
    if (!(feed.placed.empty() ? feed.sequence->append_text(feed.tokens) : feed.sequence->append(feed.placed)))
      throw Error{Code::pool_too_small, "the pool of the evaluation ran out of pages"};
    rows[i].resize(logits == Logits::all ? n_tokens : 1);
    std::iota(rows[i].begin(), rows[i].end(), n - static_cast<int>(rows[i].size()));
    step.push_back({.sequence = feed.sequence,
                    .n_new = n,
                    .logit_rows = rows[i],
                    .record = feed.record,
                    .embeddings = feed.embeddings,
                    .adapted = options_.lora != nullptr});
  }
  const std::span<const float> out = runner_.run(step);
  for (const Feed& feed : feeds)
    if (feed.record != nullptr) press::observe_step(pool_, *feed.sequence, false, threads_, *feed.record);
  return out;
}

Context Workbench::read(std::span<const model::Token> tokens, const press::PressNeeds& needs) {
  model::PicturePrompt prompt;
  for (const model::Token token : tokens)
    prompt.tokens.push_back(kv::text_token(token, prompt.next_position++));
  return read(prompt, {}, false, needs);
}

Context Workbench::read(const model::PicturePrompt& prompt, std::span<const float* const> embeddings,
                        bool whole_grids, const press::PressNeeds& needs) {
  const int n = static_cast<int>(prompt.tokens.size());
  Context context{.sequence = kv::Sequence(pool_, shape_),
                  .record = press::make_record(needs, runner_.attention(), shape_.n_layers, {0, n})};
  for (int begin = 0, end = 0; begin < n; begin = end) {
    end = std::min(n, begin + options_.chunk_tokens);
    if (whole_grids) end = model::uncut_end(prompt, begin, end);
    const auto chunk = [&](const auto& all) {
      return std::span(all).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    };
    Feed feeds{.sequence = &context.sequence,
               .tokens = {},
               .record = &context.record,
               .placed = chunk(prompt.tokens)};
    if (!embeddings.empty()) feeds.embeddings = chunk(embeddings);
    feed(std::span(&feeds, 1), Logits::last);
    model::free_unseen_pages(model_.hparams, context.sequence);
  }
  return context;
}

Compressed Workbench::compress(const Context& context, const press::PressParams& press, double ratio) {
  press::PressParams params = press;
  if (press::find_press(press.name).amount == press::Amount::rows)
    params.budget = press::Budget{.ratio = ratio}.rows_kept(context.sequence.token_count(), 0);
  else
    params.ratio = ratio;
  params = press::complete(params);
  Compressed result{.sequence = context.sequence.fork(),
                    .ratio = ratio,
                    .press = press::make_press(params),
                    .budget = params.how_much()};
  compress_again(result, context.record);
  return result;
}

model::QueryRecord Workbench::record_next(const Compressed& cache, int n_tokens) const {
  const int n = cache.sequence.token_count();
  return press::make_record(cache.press->needs(), runner_.attention(), shape_.n_layers, {n, n + n_tokens});
}

void Workbench::compress_again(Compressed& cache, const model::QueryRecord& record) {
  const press::CompressResult pressed = press::compress({.press = cache.press.get(),
                                                         .budget = cache.budget,
                                                         .pool = &pool_,
                                                         .sequence = &cache.sequence,
                                                         .record = &record,
                                                         .local = runner_.attention().local,
                                                         .output_weights = output_weights_},
                                                        threads_);
  if (!pressed.uncommitted.empty())
    throw Error{Code::pool_too_small, "the pool of the evaluation has no page for compressed rows"};
  cache.bytes = resident_bytes(cache.sequence);
}

Compressed Workbench::compress_to(const Context& context, const press::PressParams& press, double removed,
                                  size_t target_bytes) {
  const double target = static_cast<double>(target_bytes);
  std::optional<Compressed> best;
  double too_few = 1.0, too_many = 0.0;  // ratios: at the one it holds too little, at the other too much
  double ratio = removed;
  for (int i = 0; i < kMostTries; ++i) {
    Compressed now = compress(context, press, ratio);
    const double held = static_cast<double>(now.bytes);
    if (!best || is_better(now.bytes, best->bytes, target_bytes)) best = std::move(now);
    if (held <= kMostAbove * target && held >= kNearEnough * target) break;
    (held > target ? too_many : too_few) = ratio;
    const double proportional = 1.0 - (1.0 - ratio) * target / held;
    const bool inside = proportional > too_many && proportional < too_few;
    ratio = std::clamp(inside ? proportional : (too_few + too_many) / 2, 0.0, kHighestRatio);
    if (too_few - too_many < 1e-3) break;
  }
  return std::move(*best);
}

kv::Sequence Workbench::window(const Context& context, int n_first, int n_last) {
  kv::Sequence fork = context.sequence.fork();
  const int n = fork.token_count();
  for (int layer = 0; layer < shape_.n_layers; ++layer)
    for (int head = 0; head < shape_.n_kv_heads; ++head) {
      std::vector<int32_t> rows;
      for (int row = 0; row < fork.rows_held(layer, head); ++row) {
        const int token = fork.row_token(layer, head, row);
        if (token < n_first || token >= n - n_last) rows.push_back(row);
      }
      if (!fork.keep_rows(layer, head, rows))
        throw Error{Code::pool_too_small, "the pool of the evaluation has no page for the window's rows"};
    }
  return fork;
}

size_t resident_bytes(const kv::Sequence& sequence) {
  const kv::SequenceBytes bytes = sequence.bytes();
  return bytes.exclusive + bytes.shared;
}

bool is_compressed(const kv::Sequence& sequence) {
  for (int layer = 0; layer < sequence.shape().n_layers; ++layer)
    for (int head = 0; head < sequence.shape().n_kv_heads; ++head)
      // What a sliding window freed leaves a head contiguous: that is not compression.
      if (const kv::HeadTable& table = sequence.table(layer, head);
          (!table.contiguous && table.n_rows < sequence.token_count()) ||
          std::ranges::any_of(table.entries, [](const auto& entry) { return kv::is_quantized(entry.type); }))
        return true;
  return false;
}

}  // namespace fastcache::eval
