// SPDX-License-Identifier: Apache-2.0
#include "engine/testing/compressed_chat.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "engine/second_pass.h"
#include "kv/head_reader.h"
#include "model/runner.h"
#include "press/compress.h"
#include "press/press_string.h"
#include "press/query_attention.h"
#include "press/registry.h"

namespace fastcache::engine::test_support {
namespace {

struct Hand {
  LoopModel& model;
  kv::PagePool pool{{.head_dim = 16, .bytes = size_t{8} << 20}};
  model::Runner runner{model.model.hparams, *model.model.family, pool, model.compute};
  kv::Sequence sequence{pool, model::cache_shape(model.model.hparams, kv::KvType::bf16)};

  // The likeliest token behind these.
  int32_t feed(std::span<const int32_t> tokens, model::QueryRecord* record = nullptr) {
    if (!sequence.append_text(tokens)) throw Error{Code::internal, "the pool of the test is too small"};
    const int32_t last_row = static_cast<int32_t>(tokens.size()) - 1;
    const model::StepSequence step{.sequence = &sequence,
                                   .n_new = last_row + 1,
                                   .logit_rows = std::span(&last_row, 1),
                                   .record = record};
    const std::span<const float> logits = runner.run(std::span(&step, 1));
    if (record != nullptr && record->received.wanted()) {
      press::AttentionScratch scratch;
      const bool later_turn = record->received.first_query > 0;
      for (int layer = 0; layer < sequence.shape().n_layers; ++layer)
        press::observe_attention({pool, sequence, layer, later_turn, record}, scratch, *record);
    }
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
};

// Raises `probed` to the attention of the queries in record.last, the sequence's newest tokens, in plain
// loops.
void raise_by_loops(Hand& hand, const model::QueryRecord& record, model::ProbedAttention& probed) {
  const attention::AttentionShape& shape = record.attention;
  const int n_rows_of_prompt = probed.n_tokens, group = shape.n_heads / shape.n_kv_heads;
  for (int layer = 0; layer < hand.sequence.shape().n_layers; ++layer)
    for (int head = 0; head < shape.n_heads; ++head) {
      const kv::HeadRows rows = hand.sequence.head_rows(layer, head / group);
      std::vector<float> k(static_cast<size_t>(rows.n_rows) * shape.head_dim);
      kv::read_head_rows(hand.pool.memory(), shape.head_dim, rows, 0, rows.n_rows, k.data(), nullptr);
      const std::span<float> highest = probed.of(layer, head / group);
      for (int token = record.last.first_token(); token < hand.sequence.token_count(); ++token) {
        const float* q = record.last.at(layer, token) + static_cast<size_t>(head) * shape.head_dim;
        std::vector<double> weights;
        double sum = 0;
        for (int row = 0; row < rows.n_rows; ++row) {
          if (hand.sequence.row_token(layer, head / group, row) > token) break;
          double score = 0;
          for (int d = 0; d < shape.head_dim; ++d)
            score += static_cast<double>(q[d]) * k[static_cast<size_t>(row) * shape.head_dim + d];
          weights.push_back(std::exp(score * shape.scale));
          sum += weights.back();
        }
        for (size_t row = 0; row < weights.size(); ++row) {
          const int of = hand.sequence.row_token(layer, head / group, static_cast<int>(row));
          if (of < n_rows_of_prompt)
            highest[of] = std::max(highest[of], static_cast<float>(weights[row] / sum));
        }
      }
    }
}

// The extra passes of a press, each fed at once.
model::ProbedAttention probe_by_hand(Hand& hand, const press::Press& press, std::span<const int32_t> prompt,
                                     int cached) {
  const attention::AttentionShape& shape = hand.runner.attention();
  const int n_layers = hand.sequence.shape().n_layers, n_prompt = static_cast<int>(prompt.size());
  model::ProbedAttention probed{n_layers, shape.n_kv_heads, n_prompt};
  for (const auto& text : probe_texts(press, hand.model.model.vocab, prompt, cached)) {
    model::QueryRecord record{.attention = shape,
                              .last = {n_layers, shape.n_heads, shape.head_dim, n_prompt,
                                       n_prompt + static_cast<int>(text.size())}};
    hand.feed(text, &record);
    raise_by_loops(hand, record, probed);
    hand.sequence.truncate_to(n_prompt);
  }
  return probed;
}

}  // namespace

std::vector<ChatTurn> chat_by_hand(LoopModel& model, const std::vector<Request>& turns) {
  Hand hand{.model = model};
  const Compression& compression = turns.front().compression;
  const press::PressParams params =
      press::complete(press::parse_press(compression.press, {.ratio = compression.ratio,
                                                             .budget = compression.budget,
                                                             .seed = compression.seed,
                                                             .numbers = compression.parameters}));
  const auto press = press::make_press(params);
  std::vector<ChatTurn> result;
  for (const Request& turn : turns) {
    ChatTurn now{.answer = {}, .cached_tokens = hand.sequence.token_count()};
    const int n_prompt = static_cast<int>(turn.tokens.size());
    const attention::AttentionShape& shape = hand.runner.attention();
    const int n_layers = model.model.hparams.n_layers, cached = now.cached_tokens;
    const press::PressNeeds needs = press->needs();
    model::QueryRecord record{.attention = shape,
                              .last = {n_layers, shape.n_heads, shape.head_dim,
                                       std::max(cached, n_prompt - needs.last_queries), n_prompt}};
    if (needs.query_statistics)
      record.moments = {n_layers, shape.n_heads, shape.head_dim, std::max(cached, needs.statistics_skip),
                        n_prompt};
    if (needs.received_attention) {
      record.received = {n_layers, shape.n_kv_heads, cached, n_prompt};
      record.chunk = {n_layers, shape.n_heads, shape.head_dim, cached, n_prompt};
    }
    int32_t token =
        hand.feed(std::span(turn.tokens).subspan(static_cast<size_t>(now.cached_tokens)), &record);
    if (needs.second_pass) record.probed = probe_by_hand(hand, *press, turn.tokens, cached);
    const press::CompressResult pressed = press::compress({.press = press.get(),
                                                           .budget = params.how_much(),
                                                           .pool = &hand.pool,
                                                           .sequence = &hand.sequence,
                                                           .new_rows_only = now.cached_tokens > 0,
                                                           .record = &record},
                                                          model.compute);
    now.rows_before = static_cast<size_t>(pressed.rows_before);
    now.rows_after = static_cast<size_t>(pressed.rows_after);
    now.answer.push_back(token);
    while (static_cast<int>(now.answer.size()) < turn.max_tokens) {
      token = hand.feed(std::span(&token, 1));
      now.answer.push_back(token);
    }
    result.push_back(std::move(now));
  }
  return result;
}

}  // namespace fastcache::engine::test_support
