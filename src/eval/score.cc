// SPDX-License-Identifier: Apache-2.0
#include "eval/score.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"

namespace fastcache::eval {
namespace {

constexpr size_t kStepTokens = 128;  // logits of one step: 25 MB for 50,000 words

// Calls row(i, logits of the i-th token, its successor), in parallel within a step.
using OnRow = std::function<void(size_t i, std::span<const float> logits, model::Token right)>;

void for_each_row(Workbench& bench, kv::Sequence& sequence, std::span<const model::Token> continuation,
                  const OnRow& row) {
  const size_t n = continuation.size() - 1;
  const size_t n_vocab = static_cast<size_t>(bench.model().hparams.n_vocab);
  sequence.set_state(kv::PageState::decode);
  for (size_t begin = 0; begin < n; begin += kStepTokens) {
    const size_t n_step = std::min(kStepTokens, n - begin);
    const Workbench::Feed part{.sequence = &sequence, .tokens = continuation.subspan(begin, n_step)};
    const std::span<const float> logits = bench.feed(std::span(&part, 1), Workbench::Logits::all);
    bench.threads().parallel_for(static_cast<int>(n_step), [&](int i) {
      const size_t at = static_cast<size_t>(i);
      row(begin + at, logits.subspan(at * n_vocab, n_vocab), continuation[begin + at + 1]);
    });
  }
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  if (!std::isfinite(sum)) throw Error{Code::invalid_model, "the model's numbers are not finite"};
  return sum / static_cast<double>(values.size());
}

}  // namespace

Softmax softmax(std::span<const float> logits) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - *largest);
  return {.log_sum = static_cast<double>(*largest) + std::log(sum),
          .top = static_cast<int32_t>(largest - logits.begin())};
}

Reference score_reference(Workbench& bench, kv::Sequence& sequence,
                          std::span<const model::Token> continuation) {
  const size_t n = continuation.size() - 1;
  const size_t n_vocab = static_cast<size_t>(bench.model().hparams.n_vocab);
  Reference reference{.probabilities = std::vector<float>(n * n_vocab),
                      .entropy = std::vector<double>(n),
                      .top = std::vector<int32_t>(n)};
  std::vector<double> nll(n);
  for_each_row(bench, sequence, continuation,
               [&](size_t i, std::span<const float> logits, model::Token right) {
                 const Softmax total = softmax(logits);
                 double expected = 0;  // of the logit
                 for (size_t word = 0; word < n_vocab; ++word) {
                   const double p = std::exp(logits[word] - static_cast<float>(total.log_sum));
                   reference.probabilities[i * n_vocab + word] = static_cast<float>(p);
                   expected += p * static_cast<double>(logits[word]);
                 }
                 reference.entropy[i] = total.log_sum - expected;
                 reference.top[i] = total.top;
                 nll[i] = total.log_sum - static_cast<double>(logits[static_cast<size_t>(right)]);
               });
  reference.nll = mean_of(nll);
  return reference;
}

Score score(Workbench& bench, kv::Sequence& sequence, std::span<const model::Token> continuation,
            const Reference& reference) {
  const size_t n = continuation.size() - 1;
  const size_t n_vocab = static_cast<size_t>(bench.model().hparams.n_vocab);
  std::vector<double> nll(n), kl(n), top1(n);
  const bool compressed = is_compressed(sequence);  // more tokens do not bring rows back
  for_each_row(bench, sequence, continuation,
               [&](size_t i, std::span<const float> logits, model::Token right) {
                 const Softmax total = softmax(logits);
                 const float* const p = reference.probabilities.data() + i * n_vocab;
                 double expected = 0, mass = 0;
                 for (size_t word = 0; word < n_vocab; ++word) {
                   expected += static_cast<double>(p[word]) * static_cast<double>(logits[word]);
                   mass += static_cast<double>(p[word]);
                 }
                 // mass is 1 but for rounding, which the logits' size would make felt
                 kl[i] = std::max(0.0, total.log_sum - expected / mass - reference.entropy[i]);
                 top1[i] = total.top == reference.top[i] ? 1.0 : 0.0;
                 nll[i] = total.log_sum - static_cast<double>(logits[static_cast<size_t>(right)]);
               });
  return {.nll = mean_of(nll),
          .kl = mean_of(kl),
          .top1 = mean_of(top1),
          .n_tokens = static_cast<int>(n),
          .n_on_compressed = compressed ? static_cast<int>(n) : 0};
}

}  // namespace fastcache::eval
