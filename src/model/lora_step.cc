// SPDX-License-Identifier: Apache-2.0
#include "model/lora_step.h"

#include <algorithm>
#include <vector>

namespace fastcache::model {
namespace {

constexpr int kRowsPerTask = 4;  // they share one read of the factor

}  // namespace

const StepContext::AdaptedRows& adapted_rows(const StepContext& context, Rows rows) {
  return rows == Rows::all ? context.adapted : context.adapted_logits;
}

void add_lora_input(StepGraph& graph, StepContext& context, Rows rows, const linear::Activations& input,
                    const linear::LowRank* lora) {
  if (lora == nullptr) return;
  const auto n_in = static_cast<size_t>(lora->n_in());
  // Made here so that the operation allocates nothing.
  context.lora_inputs.resize(static_cast<size_t>(context.n_threads));
  for (std::vector<float>& of_thread : context.lora_inputs)
    of_thread.resize(std::max(of_thread.size(), kRowsPerTask * n_in));
  graph.add("lora", [&context, rows, &input, lora, n_in](const WorkRange& range) {
    const std::vector<int>& adapted = adapted_rows(context, rows).rows;
    const int n_rows = static_cast<int>(adapted.size());
    const auto width = static_cast<size_t>(context.lora_width);
    float* x = context.lora_inputs[static_cast<size_t>(range.thread)].data();
    for (int begin = range.tasks->take() * kRowsPerTask; begin < n_rows;
         begin = range.tasks->take() * kRowsPerTask) {
      const auto n = static_cast<size_t>(std::min(kRowsPerTask, n_rows - begin));
      const float* from[kRowsPerTask];
      float* hidden[kRowsPerTask];
      for (size_t i = 0; i < n; ++i) {
        const size_t at = static_cast<size_t>(begin) + i;
        input.get_row(adapted[at], x + i * n_in);
        from[i] = x + i * n_in;
        hidden[i] = context.lora_hidden.data() + at * width;
      }
      lora->reduce({from, n}, {hidden, n});
    }
  });
}

}  // namespace fastcache::model
