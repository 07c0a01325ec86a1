// SPDX-License-Identifier: Apache-2.0
#include "eval/answer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "eval/score.h"

namespace fastcache::eval {
namespace {

using Logits = std::vector<float>;  // [n_vocab]

double nll(std::span<const float> logits, model::Token token) {
  return softmax(logits).log_sum - static_cast<double>(logits[static_cast<size_t>(token)]);
}

std::vector<Logits> feed_all(Workbench& bench, std::span<const Workbench::Feed> feeds) {
  const size_t n_vocab = static_cast<size_t>(bench.model().hparams.n_vocab);
  const std::span<const float> all = bench.feed(feeds, Workbench::Logits::last);
  std::vector<Logits> rows;
  for (size_t i = 0; i < feeds.size(); ++i) {
    const std::span<const float> row = all.subspan(i * n_vocab, n_vocab);
    if (!std::isfinite(softmax(row).log_sum))
      throw Error{Code::invalid_model, "the model's numbers are not finite"};
    rows.emplace_back(row.begin(), row.end());
  }
  return rows;
}

// [candidates]: -ln p of each as the continuation of the sequence. first: logits of the sequence's last
// token.
std::vector<double> candidate_nlls(Workbench& bench, const kv::Sequence& sequence,
                                   std::span<const float> first, const std::vector<Tokens>& candidates) {
  const size_t n_vocab = static_cast<size_t>(bench.model().hparams.n_vocab);
  std::vector<double> nlls;
  std::vector<kv::Sequence> forks;
  std::vector<Workbench::Feed> feeds;
  forks.reserve(candidates.size());
  for (const Tokens& candidate : candidates) {
    nlls.push_back(nll(first, candidate[0]));
    if (candidate.size() == 1) continue;
    forks.push_back(sequence.fork());
    feeds.push_back({.sequence = &forks.back(), .tokens = std::span(candidate).first(candidate.size() - 1)});
  }
  if (feeds.empty()) return nlls;
  const std::span<const float> logits = bench.feed(feeds, Workbench::Logits::all);
  size_t row = 0;
  for (size_t i = 0; i < candidates.size(); ++i)
    for (size_t token = 1; token < candidates[i].size(); ++token)
      nlls[i] += nll(logits.subspan(row++ * n_vocab, n_vocab), candidates[i][token]);
  return nlls;
}

void answer_by_likelihood(Workbench& bench, const Task& task, const kv::Sequence& sequence,
                          std::span<const float> first, Answer& answer) {
  std::vector<Tokens> candidates = task.right;
  candidates.insert(candidates.end(), task.wrong.begin(), task.wrong.end());
  const std::vector<double> nlls = candidate_nlls(bench, sequence, first, candidates);
  const auto wrong = nlls.begin() + static_cast<std::ptrdiff_t>(task.right.size());
  const double best_wrong = *std::min_element(wrong, nlls.end());
  for (size_t i = 0; i < task.right.size(); ++i) {
    answer.likely += nlls[i] < best_wrong ? 1.0 / static_cast<double>(task.right.size()) : 0.0;
    answer.n_tokens += static_cast<int>(task.right[i].size());
  }
}

int32_t likeliest(std::span<const float> logits) { return softmax(logits).top; }

// All greedily, side by side. logits: of each sequence's last token.
std::vector<std::string> generate(Workbench& bench, std::span<kv::Sequence* const> sequences,
                                  std::vector<Logits> logits, int n_tokens) {
  std::vector<Tokens> answers(sequences.size());
  for (int i = 0;; ++i) {
    std::vector<Workbench::Feed> feeds;
    for (size_t s = 0; s < sequences.size(); ++s) {
      answers[s].push_back(likeliest(logits[s]));
      feeds.push_back({.sequence = sequences[s], .tokens = std::span(answers[s]).last(1)});
    }
    if (i + 1 == n_tokens) break;
    logits = feed_all(bench, feeds);
  }
  std::vector<std::string> texts;
  for (const Tokens& tokens : answers) texts.push_back(bench.model().vocab.detokenize(tokens));
  return texts;
}

}  // namespace

std::vector<Answer> answer_task(Workbench& bench, const Task& task, bool query_aware,
                                std::span<kv::Sequence* const> sequences) {
  Tokens prompt;
  if (!query_aware) prompt = task.question;
  prompt.insert(prompt.end(), task.lead.begin(), task.lead.end());
  std::vector<Answer> answers(sequences.size());
  std::vector<bool> fewer;
  std::vector<Workbench::Feed> feeds;
  for (kv::Sequence* sequence : sequences) {
    sequence->set_state(kv::PageState::decode);
    fewer.push_back(is_compressed(*sequence));
    feeds.push_back({.sequence = sequence, .tokens = prompt});
  }
  std::vector<Logits> logits = feed_all(bench, feeds);
  for (size_t i = 0; i < sequences.size(); ++i)
    answer_by_likelihood(bench, task, *sequences[i], logits[i], answers[i]);
  const std::vector<std::string> texts = generate(bench, sequences, std::move(logits), task.answer_tokens);
  for (size_t i = 0; i < sequences.size(); ++i) {
    answers[i].exact = share_found(task.values, texts[i]);
    answers[i].n_tokens += task.answer_tokens;
    answers[i].n_on_compressed = fewer[i] ? answers[i].n_tokens : 0;
  }
  return answers;
}

}  // namespace fastcache::eval
