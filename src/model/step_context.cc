// SPDX-License-Identifier: Apache-2.0
#include "model/step_context.h"

#include <algorithm>
#include <cassert>

#include "base/error.h"

namespace fastcache::model {
namespace {

// Buffers only grow: a long prompt's memory serves the steps after it.
void reserve(std::vector<float>& buffer, int n_rows, int width) {
  const size_t size = static_cast<size_t>(n_rows) * static_cast<size_t>(width);
  if (buffer.size() < size) buffer.resize(size);
}

}  // namespace

void StepContext::begin_step(std::span<const StepSequence> step, linear::InputForms forms) {
  sequences = step;
  rows.clear();
  logit_rows.clear();
  positions.clear();
  visible_new.clear();
  sees_spans.clear();
  n_going.clear();
  for (int s = 0; s < static_cast<int>(step.size()); ++s) {
    const kv::TokenTable& tokens = step[s].sequence->tokens();
    const int first_token = tokens.size() - step[s].n_new;
    assert(first_token >= 0);
    n_going.push_back(step[s].n_new);
    sees_spans.push_back(false);
    for (int32_t row : step[s].logit_rows) logit_rows.push_back(n_rows() + row);
    for (int i = 0; i < step[s].n_new; ++i) {
      const kv::Token& token = tokens[first_token + i];
      const float* embedding = step[s].embeddings.empty() ? nullptr : step[s].embeddings[i];
      if (token.id < 0 && embedding == nullptr)
        throw Error{Code::internal, "a row of a picture came without its embedding"};
      rows.push_back({.sequence = s,
                      .index = i,
                      .token = token.id,
                      .positions = token.position,
                      .embedding = embedding,
                      .going = i});
      positions.push_back(token.position[0]);
      visible_new.push_back(i + 1 + token.sees_behind);
      sees_spans.back() = sees_spans.back() || token.sees_behind > 0;
      if (visible_new.back() > step[s].n_new)
        throw Error{Code::internal, "a step ends within a picture whose rows see each other"};
    }
  }

  const HParams& h = hparams;
  plan_moments();
  plan_adapted();
  reserve(cos_sin, n_rows(), h.rope_dims);
  if (h.has_local_layers()) reserve(local_cos_sin, n_rows(), h.rope_dims);
  reserve(hidden, n_rows(), h.n_embd);
  reserve(branch, n_rows(), h.n_embd);
  reserve(qkv, n_rows(), (h.n_heads + 2 * h.n_kv_heads) * h.head_dim);
  reserve(attention_out, n_rows(), h.n_heads * h.head_dim);
  reserve(logits, n_logit_rows(), h.n_vocab);
  embd_input.reserve(n_rows(), h.n_embd, forms);
  attention_input.reserve(n_rows(), h.n_heads * h.head_dim, forms);
  ffn_input.reserve(n_rows(), h.n_ff, forms);
}

void StepContext::plan_adapted() {
  for (AdaptedRows* of : {&adapted, &adapted_logits}) {
    of->rows.clear();
    of->hidden.clear();
  }
  const auto is_adapted = [this](int row) {
    return sequences[static_cast<size_t>(rows[static_cast<size_t>(row)].sequence)].adapted;
  };
  for (int row = 0; row < n_rows(); ++row) {
    if (is_adapted(row)) adapted.rows.push_back(row);
  }
  if (adapted.rows.empty()) return;
  for (int i = 0; i < n_logit_rows(); ++i) {
    if (is_adapted(logit_rows[static_cast<size_t>(i)])) adapted_logits.rows.push_back(i);
  }
  reserve(lora_hidden, static_cast<int>(adapted.rows.size()), lora_width);
  const auto point = [this](AdaptedRows& to, int n_all) {
    to.hidden.assign(static_cast<size_t>(n_all), nullptr);
    for (size_t i = 0; i < to.rows.size(); ++i)
      to.hidden[static_cast<size_t>(to.rows[i])] = lora_hidden.data() + i * static_cast<size_t>(lora_width);
  };
  point(adapted, n_rows());
  point(adapted_logits, n_logit_rows());
}

void StepContext::plan_moments() {
  moment_chunks.clear();
  int first_row = 0;
  for (const StepSequence& s : sequences) {
    if (s.record != nullptr && s.record->moments.wanted()) {
      const int first_token = s.sequence->token_count() - s.n_new;
      moment_chunks.push_back({&s.record->moments, first_row, first_token, s.n_new});
    }
    first_row += s.n_new;
  }
  if (moment_chunks.empty()) return;
  for (TaskCounter& tasks : moment_tasks) tasks.reset();
  reserve(plain_queries, n_rows(), hparams.n_heads * hparams.head_dim);
}

void StepContext::drop_rows(const std::vector<bool>& goes_on) {
  std::vector<int> new_row(rows.size(), -1);
  n_going.assign(sequences.size(), 0);
  int n = 0;
  const auto move_row = [](std::vector<float>& buffer, size_t from, int to, int width) {
    if (from == static_cast<size_t>(to)) return;
    std::copy_n(buffer.begin() + static_cast<ptrdiff_t>(from) * width, width,
                buffer.begin() + static_cast<ptrdiff_t>(to) * width);
  };
  for (size_t row = 0; row < goes_on.size(); ++row) {
    if (!goes_on[row]) continue;
    move_row(hidden, row, n, hparams.n_embd);
    move_row(cos_sin, row, n, hparams.rope_dims);
    if (hparams.has_local_layers()) move_row(local_cos_sin, row, n, hparams.rope_dims);
    rows[static_cast<size_t>(n)] = rows[row];
    rows[static_cast<size_t>(n)].going = n_going[static_cast<size_t>(rows[row].sequence)]++;
    positions[static_cast<size_t>(n)] = positions[row];
    new_row[row] = n++;
  }
  rows.resize(static_cast<size_t>(n));
  positions.resize(static_cast<size_t>(n));
  for (int& row : logit_rows) {
    row = new_row[static_cast<size_t>(row)];
    if (row < 0) throw Error{Code::internal, "the logits of a token were wanted that a pruner dropped"};
  }
  plan_adapted();
}

void StepContext::plan_attention(const kv::PageMemory& pages, const attention::AttentionShape& shape,
                                 int first_layer) {
  const int n_kv_heads = hparams.n_kv_heads;
  const size_t n_sequences = sequences.size();
  layers.resize(static_cast<size_t>(hparams.n_layers));
  for (int layer = first_layer; layer < hparams.n_layers; ++layer) {
    LayerViews& views = layers[static_cast<size_t>(layer)];
    views.heads.resize(n_sequences * static_cast<size_t>(n_kv_heads));
    views.sequences.resize(n_sequences);
    int first_query = 0;
    for (size_t s = 0; s < n_sequences; ++s) {
      const std::span heads(&views.heads[s * static_cast<size_t>(n_kv_heads)],
                            static_cast<size_t>(n_kv_heads));
      for (int head = 0; head < n_kv_heads; ++head)
        heads[head] = sequences[s].sequence->head_rows(layer, head);
      views.sequences[s] = {
          .first_query = first_query,
          .n_queries = n_going[s],
          .query_positions = &positions[static_cast<size_t>(first_query)],
          .visible_new = sees_spans[s] ? &visible_new[static_cast<size_t>(first_query)] : nullptr,
          .heads = heads};
      first_query += n_going[s];
    }
    const size_t stride = static_cast<size_t>((hparams.n_heads + 2 * n_kv_heads) * hparams.head_dim);
    views.work.plan({.shape = attention::layer_shape(shape, layer),
                     .pages = pages,
                     .sequences = views.sequences,
                     .q = qkv.data(),
                     .q_stride = stride,
                     .out = attention_out.data(),
                     .out_stride = static_cast<size_t>(hparams.n_heads * hparams.head_dim)},
                    n_threads);
  }
}

}  // namespace fastcache::model
