// SPDX-License-Identifier: Apache-2.0
// Extra passes over a prompt, between its prefill and its compression. Their tokens are fed like more of the
// prompt, in chunks, beside what else a step holds; when a pass is over, the sequence forgets them.
#include "engine/second_pass.h"

#include "engine/step_loop.h"
#include "press/prefill_record.h"
#include "press/registry.h"

namespace fastcache::engine {

std::vector<std::vector<int32_t>> probe_texts(const press::Press& press, const model::Vocab& vocab,
                                              std::span<const int32_t> prompt, int first_token) {
  std::vector<std::vector<int32_t>> texts;
  for (const press::Probe& probe : press.probes(first_token, static_cast<int>(prompt.size()))) {
    std::vector<int32_t> text = vocab.tokenize(probe.instruction, {});
    const auto again = prompt.subspan(static_cast<size_t>(probe.first_token),
                                      static_cast<size_t>(probe.end_token - probe.first_token));
    text.insert(text.end(), again.begin(), again.end());
    if (!text.empty()) texts.push_back(std::move(text));
  }
  return texts;
}

// To the compression, by way of the passes that the press wants.
void StepLoop::begin_compression(AnswerState& answer) {
  answer.stage = Stage::compress;
  const RequestState& request = *answer.request;
  if (!request.press_needs.second_pass || answer.compressed()) return;
  const int n_layers = model_.hparams.n_layers, n_prompt = answer.n_prompt();
  const int first_new = answer.from_compressed_prefix ? answer.compressed_prefix_tokens : 0;
  auto pass = std::make_unique<SecondPass>(SecondPass{
      .texts = probe_texts(*press::make_press(request.press), model_.vocab, request.prompt, first_new),
      .record = press::make_probe_record(runner_.attention(), n_layers, n_prompt)});
  if (pass->texts.empty()) return end_second_pass(answer, std::move(pass->record));
  answer.second_pass = std::move(pass);
  answer.stage = Stage::prefill;
}

// All tokens of the pass at work are fed and observed.
void StepLoop::end_probe(AnswerState& answer) {
  answer.sequence.truncate_to(answer.n_prompt());
  SecondPass& pass = *answer.second_pass;
  if (++pass.at < pass.texts.size()) return;
  model::QueryRecord record = std::move(pass.record);
  answer.second_pass.reset();
  answer.stage = Stage::compress;
  end_second_pass(answer, std::move(record));
}

void StepLoop::end_second_pass(AnswerState& answer, model::QueryRecord record) {
  if (answer.record == nullptr)
    answer.record = std::make_unique<model::QueryRecord>(std::move(record));
  else
    answer.record->probed = std::move(record.probed);
}

void StepLoop::leave_second_pass(AnswerState& answer) {
  if (answer.second_pass == nullptr) return;
  answer.second_pass.reset();
  answer.sequence.truncate_to(std::min(answer.n_prompt(), answer.sequence.token_count()));
}

}  // namespace fastcache::engine
