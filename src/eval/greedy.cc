// SPDX-License-Identifier: Apache-2.0
#include "eval/greedy.h"

#include <cmath>

#include "base/error.h"
#include "eval/score.h"

namespace fastcache::eval {
namespace {

model::Token likeliest(std::span<const float> logits) {
  const Softmax found = softmax(logits);
  if (!std::isfinite(found.log_sum)) throw Error{Code::invalid_model, "the model's numbers are not finite"};
  return found.top;
}

}  // namespace

std::vector<GreedyAnswer> answer_greedily(Workbench& bench, std::span<kv::Sequence* const> sequences,
                                          const std::vector<Tokens>& prompts, int answer_tokens) {
  const model::Vocab& vocab = bench.model().vocab;
  const auto n_vocab = static_cast<size_t>(bench.model().hparams.n_vocab);
  std::vector<GreedyAnswer> answers(sequences.size());
  std::vector<Tokens> said(sequences.size());
  std::vector<size_t> active;  // those that go on
  std::vector<Workbench::Feed> feeds;
  for (size_t i = 0; i < sequences.size(); ++i) {
    sequences[i]->set_state(kv::PageState::decode);
    active.push_back(i);
    feeds.push_back({.sequence = sequences[i], .tokens = prompts[i]});
  }
  while (!active.empty()) {
    const std::span<const float> logits = bench.feed(feeds, Workbench::Logits::last);
    std::vector<size_t> going;
    for (size_t row = 0; row < active.size(); ++row) {
      const size_t i = active[row];
      const model::Token token = likeliest(logits.subspan(row * n_vocab, n_vocab));
      ++answers[i].n_tokens;
      if (vocab.is_eog(token)) continue;
      said[i].push_back(token);
      if (answers[i].n_tokens < answer_tokens) going.push_back(i);
    }
    active = std::move(going);
    feeds.clear();
    for (const size_t i : active)
      feeds.push_back({.sequence = sequences[i], .tokens = std::span(said[i]).last(1)});
  }
  for (size_t i = 0; i < sequences.size(); ++i) answers[i].text = vocab.detokenize(said[i]);
  return answers;
}

}  // namespace fastcache::eval
