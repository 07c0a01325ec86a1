// SPDX-License-Identifier: Apache-2.0
#include "model/step_ops.h"

#include <algorithm>
#include <vector>

#include "model/lora_step.h"
#include "model/rms_norm.h"

namespace fastcache::model {
namespace {

constexpr int kRowsPerTask =
    8;  // row-wise operations: enough work to be worth an atomic, little enough to balance

int count(const StepContext& context, Rows rows) {
  return rows == Rows::all ? context.n_rows() : context.n_logit_rows();
}

template <typename Body>
void for_each_row(const WorkRange& range, int n_rows, const Body& body) {
  for (int begin = range.tasks->take() * kRowsPerTask; begin < n_rows;
       begin = range.tasks->take() * kRowsPerTask) {
    const int end = std::min(begin + kRowsPerTask, n_rows);
    for (int row = begin; row < end; ++row) body(row);
  }
}

template <typename T>
T* row_of(std::vector<T>& buffer, int row, int width) {
  return buffer.data() + static_cast<size_t>(row) * static_cast<size_t>(width);
}

int qkv_width(const HParams& h) { return (h.n_heads + 2 * h.n_kv_heads) * h.head_dim; }

}  // namespace

void add_embedding(StepGraph& graph, StepContext& context, const linear::PackedMatrix& embedding,
                   const EmbeddingOptions& options) {
  graph.add("embedding", [&context, &embedding, options](const WorkRange& range) {
    for_each_row(range, context.n_rows(), [&](int row) {
      const StepRow& step_row = context.rows[static_cast<size_t>(row)];
      const int n_embd = context.hparams.n_embd, n_dims = context.hparams.rope_dims;
      float* hidden = row_of(context.hidden, row, n_embd);
      if (step_row.embedding != nullptr)
        std::copy_n(step_row.embedding, n_embd, hidden);
      else
        linear::get_row(embedding, step_row.token, hidden);
      if (options.scale != 1.0f && step_row.embedding == nullptr)
        std::transform(hidden, hidden + n_embd, hidden, [&](float x) { return x * options.scale; });
      attention::rope_angles(*options.rope, step_row.positions, row_of(context.cos_sin, row, n_dims));
      if (options.local_rope != nullptr)
        attention::rope_angles(*options.local_rope, step_row.positions,
                               row_of(context.local_cos_sin, row, n_dims));
    });
  });
}

void add_norm(StepGraph& graph, StepContext& context, Rows rows, std::span<const float> weight) {
  const size_t n_embd = weight.size();
  // One row of scratch a thread, made here so that the operation allocates nothing.
  auto scratch = std::make_shared<std::vector<std::vector<float>>>(static_cast<size_t>(context.n_threads),
                                                                   std::vector<float>(n_embd));
  graph.add("norm", [&context, rows, weight, n_embd, scratch](const WorkRange& range) {
    float* normalised = (*scratch)[static_cast<size_t>(range.thread)].data();
    for_each_row(range, count(context, rows), [&](int row) {
      const float* hidden = row_of(context.hidden, row, static_cast<int>(n_embd));
      rms_norm({hidden, n_embd}, weight, context.hparams.rms_eps, normalised);
      context.embd_input.set_row(row, normalised);
    });
  });
}

void add_qkv(StepGraph& graph, StepContext& context, const AdaptedMatrix& qkv, const float* bias) {
  add_lora_input(graph, context, Rows::all, context.embd_input, qkv.lora);
  graph.add("qkv", [&context, qkv, bias](const WorkRange& range) {
    linear::matmul({.weights = &qkv.weights,
                    .input = &context.embd_input,
                    .n_rows = context.n_rows(),
                    .bias = bias,
                    .out = context.qkv.data(),
                    .out_stride = static_cast<size_t>(qkv_width(context.hparams)),
                    .low_rank = qkv.lora,
                    .hidden = adapted_rows(context, Rows::all).hidden.data()},
                   range);
  });
}

namespace {

void norm_heads(float* heads, int n_heads, std::span<const float> weight, float eps) {
  for (int head = 0; head < n_heads && !weight.empty(); ++head, heads += weight.size())
    rms_norm({heads, weight.size()}, weight, eps, heads);
}

}  // namespace

void add_rope_and_store(StepGraph& graph, StepContext& context, int layer, const RopeOptions& options) {
  graph.add("rope", [&context, options, layer](const WorkRange& range) {
    const HParams& h = context.hparams;
    for_each_row(range, context.n_rows(), [&](int row) {
      const StepRow& step_row = context.rows[static_cast<size_t>(row)];
      const attention::RopeTable& rope = *options.rope;
      const float* cos_sin =
          row_of(options.angles == Angles::local ? context.local_cos_sin : context.cos_sin, row, rope.n_dims);
      float* q = row_of(context.qkv, row, qkv_width(h));
      const StepSequence& step = context.sequences[static_cast<size_t>(step_row.sequence)];
      const int q_width = h.n_heads * h.head_dim;
      norm_heads(q, h.n_heads, options.q_norm, h.rms_eps);
      norm_heads(q + q_width, h.n_kv_heads, options.k_norm, h.rms_eps);
      if (step.record != nullptr && step.record->moments.wanted())
        std::copy_n(q, q_width, row_of(context.plain_queries, row, q_width));
      for (int head = 0; head < h.n_heads + h.n_kv_heads; ++head) {  // k's heads follow q's
        attention::rope_rotate(rope, cos_sin, q + head * h.head_dim);
      }
      const float* k = q + h.n_heads * h.head_dim;
      const float* v = k + h.n_kv_heads * h.head_dim;
      const kv::Sequence& sequence = *step.sequence;
      if (step.record != nullptr) {
        const int token = sequence.token_count() - step.n_new + step_row.index;
        step.record->last.set(layer, token, q);
        step.record->chunk.set(layer, token, q);
      }
      const int n_going = context.n_going[static_cast<size_t>(step_row.sequence)];
      for (int head = 0; head < h.n_kv_heads; ++head) {
        const kv::RowSlot slot =
            n_going == step.n_new
                ? sequence.slot(layer, head, step_row.index)
                : sequence.row(layer, head, sequence.rows_held(layer, head) - n_going + step_row.going);
        kv::write_row(slot.page, slot.type, h.head_dim, slot.row, k + head * h.head_dim,
                      v + head * h.head_dim);
      }
    });
  });
}

namespace {

// Rides on the attention's operation: it needs what the rope operation stored, and a barrier of its own would
// cost every step.
void add_to_moments(StepContext& context, int layer) {
  const int width = context.hparams.n_heads * context.hparams.head_dim;
  const int n_parts = context.hparams.head_dim / QueryMoments::kPartChannels;
  const int per_chunk = context.hparams.n_heads * n_parts;
  const int n_tasks = static_cast<int>(context.moment_chunks.size()) * per_chunk;
  TaskCounter& tasks = context.moment_tasks[static_cast<size_t>(layer)];
  for (int task = tasks.take(); task < n_tasks; task = tasks.take()) {
    const StepContext::MomentChunk& chunk = context.moment_chunks[static_cast<size_t>(task / per_chunk)];
    const int head = task % per_chunk / n_parts, part = task % n_parts;
    const float* q = row_of(context.plain_queries, chunk.first_row, width) + head * context.hparams.head_dim;
    chunk.moments->add(layer, head, part, chunk.first_token, chunk.n_tokens, q, static_cast<size_t>(width));
  }
}

}  // namespace

void add_attention(StepGraph& graph, StepContext& context, int layer) {
  graph.add("attention", [&context, layer](const WorkRange& range) {
    context.layers[static_cast<size_t>(layer)].work.run(range);
    if (!context.moment_chunks.empty()) add_to_moments(context, layer);
  });
}

void add_keep_logit_rows(StepGraph& graph, StepContext& context) {
  graph.add("keep_rows", [&context](const WorkRange& range) {
    if (range.thread != 0) return;  // rows move to the front in place, so in order
    const int n_embd = context.hparams.n_embd;
    const int width = context.hparams.n_heads * context.hparams.head_dim;
    for (int to = 0; to < context.n_logit_rows(); ++to) {
      const int from = context.logit_rows[static_cast<size_t>(to)];
      if (from == to) continue;
      std::copy_n(row_of(context.hidden, from, n_embd), n_embd, row_of(context.hidden, to, n_embd));
      std::copy_n(row_of(context.attention_out, from, width), width,
                  row_of(context.attention_out, to, width));
    }
  });
}

namespace {

linear::MatmulArgs block_output(StepContext& context, const AdaptedMatrix& matrix,
                                const linear::Activations& input, Rows rows, Into into) {
  const bool adds = into == Into::hidden;
  float* out = (adds ? context.hidden : context.branch).data();
  return {.weights = &matrix.weights,
          .input = &input,
          .n_rows = count(context, rows),
          .epilogue = adds ? linear::Epilogue::add : linear::Epilogue::store,
          .out = out,
          .out_stride = static_cast<size_t>(context.hparams.n_embd),
          .residual = adds ? out : nullptr,
          .low_rank = matrix.lora,
          .hidden = adapted_rows(context, rows).hidden.data()};
}

}  // namespace

void add_attention_output(StepGraph& graph, StepContext& context, Rows rows, const AdaptedMatrix& output,
                          Into into) {
  graph.add("quantise", [&context, rows](const WorkRange& range) {
    const int width = context.hparams.n_heads * context.hparams.head_dim;
    for_each_row(range, count(context, rows), [&](int row) {
      context.attention_input.set_row(row, row_of(context.attention_out, row, width));
    });
  });
  add_lora_input(graph, context, rows, context.attention_input, output.lora);
  graph.add("attention_output", [&context, rows, output, into](const WorkRange& range) {
    linear::matmul(block_output(context, output, context.attention_input, rows, into), range);
  });
}

void add_gated_ffn(StepGraph& graph, StepContext& context, Rows rows, const AdaptedMatrix& gate_up,
                   linear::Epilogue activation, const AdaptedMatrix& down, Into into) {
  add_lora_input(graph, context, rows, context.embd_input, gate_up.lora);
  graph.add("gate_up", [&context, rows, gate_up, activation](const WorkRange& range) {
    linear::matmul({.weights = &gate_up.weights,
                    .input = &context.embd_input,
                    .n_rows = count(context, rows),
                    .epilogue = activation,
                    .out_activations = &context.ffn_input,
                    .low_rank = gate_up.lora,
                    .hidden = adapted_rows(context, rows).hidden.data()},
                   range);
  });
  add_lora_input(graph, context, rows, context.ffn_input, down.lora);
  graph.add("down", [&context, rows, down, into](const WorkRange& range) {
    linear::matmul(block_output(context, down, context.ffn_input, rows, into), range);
  });
}

void add_branch(StepGraph& graph, StepContext& context, Rows rows, std::span<const float> norm,
                std::span<const float> next_norm) {
  const size_t n_embd = norm.size();
  auto scratch = std::make_shared<std::vector<std::vector<float>>>(static_cast<size_t>(context.n_threads),
                                                                   std::vector<float>(n_embd));
  graph.add("norm", [&context, rows, norm, next_norm, n_embd, scratch](const WorkRange& range) {
    float* normalised = (*scratch)[static_cast<size_t>(range.thread)].data();
    const float eps = context.hparams.rms_eps;
    for_each_row(range, count(context, rows), [&](int row) {
      float* hidden = row_of(context.hidden, row, static_cast<int>(n_embd));
      const float* branch = row_of(context.branch, row, static_cast<int>(n_embd));
      rms_norm({branch, n_embd}, norm, eps, normalised);
      for (size_t i = 0; i < n_embd; ++i) hidden[i] += normalised[i];
      if (next_norm.empty()) return;
      rms_norm({hidden, n_embd}, next_norm, eps, normalised);
      context.embd_input.set_row(row, normalised);
    });
  });
}

void add_logits(StepGraph& graph, StepContext& context, const linear::PackedMatrix& head) {
  graph.add("logits", [&context, &head](const WorkRange& range) {
    linear::matmul({.weights = &head,
                    .input = &context.embd_input,
                    .n_rows = context.n_logit_rows(),
                    .out = context.logits.data(),
                    .out_stride = static_cast<size_t>(context.hparams.n_vocab)},
                   range);
  });
}

}  // namespace fastcache::model
