// SPDX-License-Identifier: Apache-2.0
#include "engine/testing/compressed_chat.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "engine/request_check.h"
#include "engine/second_pass.h"
#include "kv/head_reader.h"
#include "model/runner.h"
#include "press/compress.h"
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

struct HandPress {
  explicit HandPress(const Compression& compression)
      : params(press_params(compression)), press(press::make_press(params)) {}
  press::PressParams params;
  std::unique_ptr<press::Press> press;
  press::PressNeeds needs = press->needs();
  int interval = press->decode_interval();
};

// Of the queries of the tokens [first, end), as the press wants them.
model::QueryRecord record_of(const Hand& hand, const press::PressNeeds& needs, int first, int end) {
  const attention::AttentionShape& shape = hand.runner.attention();
  const int n_layers = hand.sequence.shape().n_layers;
  model::QueryRecord record{
      .attention = shape,
      .last = {n_layers, shape.n_heads, shape.head_dim, std::max(first, end - needs.last_queries), end}};
  if (needs.query_statistics)
    record.moments = {n_layers, shape.n_heads, shape.head_dim, std::max(first, needs.statistics_skip), end};
  if (needs.received_attention) {
    record.received = {n_layers, shape.n_kv_heads, first, end};
    record.chunk = {n_layers, shape.n_heads, shape.head_dim, first, end};
  }
  return record;
}

press::CompressResult compress(Hand& hand, const HandPress& press, const model::QueryRecord& record,
                               bool new_rows_only) {
  const auto output_weights = hand.model.model.family->output_weights();
  return press::compress({.press = press.press.get(),
                          .budget = press.params.how_much(),
                          .pool = &hand.pool,
                          .sequence = &hand.sequence,
                          .new_rows_only = new_rows_only,
                          .record = &record,
                          .local = hand.runner.attention().local,
                          .output_weights = output_weights},
                         hand.model.compute);
}

// The tokens behind the first, one by one; behind every `interval` of them that are fed the press comes.
void decode(Hand& hand, const HandPress& press, int max_tokens, std::vector<int32_t>& answer) {
  const auto next_record = [&] {
    const int now = hand.sequence.token_count();
    return record_of(hand, press.needs, now, now + press.interval);
  };
  std::optional<model::QueryRecord> record;
  if (press.interval > 0) record = next_record();
  for (int n_fed = 1; static_cast<int>(answer.size()) < max_tokens; ++n_fed) {
    answer.push_back(hand.feed(std::span(&answer.back(), 1), record ? &*record : nullptr));
    if (!record || n_fed % press.interval != 0 || static_cast<int>(answer.size()) == max_tokens) continue;
    compress(hand, press, *record, false);
    record = next_record();
  }
}

}  // namespace

std::vector<ChatTurn> chat_by_hand(LoopModel& model, const std::vector<Request>& turns) {
  Hand hand{.model = model};
  const HandPress press(turns.front().compression);
  std::vector<ChatTurn> result;
  for (const Request& turn : turns) {
    ChatTurn now{.answer = {}, .cached_tokens = hand.sequence.token_count()};
    const auto new_tokens = std::span(turn.tokens).subspan(static_cast<size_t>(now.cached_tokens));
    model::QueryRecord record =
        record_of(hand, press.needs, now.cached_tokens, static_cast<int>(turn.tokens.size()));
    now.answer.push_back(hand.feed(new_tokens, &record));
    if (press.needs.second_pass)
      record.probed = probe_by_hand(hand, *press.press, turn.tokens, now.cached_tokens);
    const press::CompressResult pressed =
        compress(hand, press, record, now.cached_tokens > 0 && press.interval == 0);
    now.rows_before = static_cast<size_t>(pressed.rows_before);
    now.rows_after = static_cast<size_t>(pressed.rows_after);
    decode(hand, press, turn.max_tokens, now.answer);
    result.push_back(std::move(now));
  }
  return result;
}

}  // namespace fastcache::engine::test_support
