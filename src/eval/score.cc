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

// record: gets what a press wants of the queries, or null.
void for_each_row(Workbench& bench, kv::Sequence& sequence, std::span<const model::Token> continuation,
                  model::QueryRecord* record, const OnRow& row) {
  const size_t n = continuation.size() - 1;
  const size_t n_vocab = static_cast<size_t>(bench.model().hparams.n_vocab);
  sequence.set_state(kv::PageState::decode);
  for (size_t begin = 0; begin < n; begin += kStepTokens) {
    const size_t n_step = std::min(kStepTokens, n - begin);
    const Workbench::Feed part{
        .sequence = &sequence, .tokens = continuation.subspan(begin, n_step), .record = record};
    const std::span<const float> logits = bench.feed(std::span(&part, 1), Workbench::Logits::all);
    bench.threads().parallel_for(static_cast<int>(n_step), [&](int i) {
      const size_t at = static_cast<size_t>(i);
      row(begin + at, logits.subspan(at * n_vocab, n_vocab), continuation[begin + at + 1]);
    });
  }
}

// The press comes again behind each `every` tokens but the last ones, behind which nothing is scored. Returns
// the most bytes that the sequence held.
size_t for_each_row_pressed(Workbench& bench, Compressed& cache, std::span<const model::Token> continuation,
                            const OnRow& row) {
  const size_t n = continuation.size() - 1, every = static_cast<size_t>(cache.press->decode_interval());
  size_t peak_bytes = 0;
  for (size_t begin = 0; begin < n; begin += every) {
    const size_t n_part = std::min(every, n - begin);
    model::QueryRecord record = bench.record_next(cache, static_cast<int>(n_part));
    for_each_row(
        bench, cache.sequence, continuation.subspan(begin, n_part + 1), &record,
        [&](size_t i, std::span<const float> logits, model::Token right) { row(begin + i, logits, right); });
    peak_bytes = std::max(peak_bytes, resident_bytes(cache.sequence));
    if (begin + n_part < n) bench.compress_again(cache, record);
  }
  return peak_bytes;
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  if (!std::isfinite(sum)) throw Error{Code::invalid_model, "the model's numbers are not finite"};
  return sum / static_cast<double>(values.size());
}

// Collects, token by token, how far a cache's predictions are from the reference's.
class Comparison {
 public:
  Comparison(const Workbench& bench, size_t n, const Reference& reference)
      : n_vocab_(static_cast<size_t>(bench.model().hparams.n_vocab)),
        reference_(reference),
        nll_(n),
        kl_(n),
        top1_(n) {}

  OnRow on_row() {
    return [this](size_t i, std::span<const float> logits, model::Token right) { add(i, logits, right); };
  }
  Score score(bool compressed, size_t peak_bytes) const {
    const int n = static_cast<int>(nll_.size());
    return {.nll = mean_of(nll_),
            .kl = mean_of(kl_),
            .top1 = mean_of(top1_),
            .n_tokens = n,
            .n_on_compressed = compressed ? n : 0,
            .peak_bytes = peak_bytes};
  }

 private:
  void add(size_t i, std::span<const float> logits, model::Token right) {
    const Softmax total = softmax(logits);
    const float* const p = reference_.probabilities.data() + i * n_vocab_;
    double expected = 0, mass = 0;
    for (size_t word = 0; word < n_vocab_; ++word) {
      expected += static_cast<double>(p[word]) * static_cast<double>(logits[word]);
      mass += static_cast<double>(p[word]);
    }
    // mass is 1 but for rounding, which the logits' size would make felt
    kl_[i] = std::max(0.0, total.log_sum - expected / mass - reference_.entropy[i]);
    top1_[i] = total.top == reference_.top[i] ? 1.0 : 0.0;
    nll_[i] = total.log_sum - static_cast<double>(logits[static_cast<size_t>(right)]);
  }

  size_t n_vocab_;
  const Reference& reference_;
  std::vector<double> nll_, kl_, top1_;  // [n]
};

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
  for_each_row(bench, sequence, continuation, nullptr,
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
  Comparison comparison(bench, continuation.size() - 1, reference);
  const bool compressed = is_compressed(sequence);  // more tokens do not bring rows back
  for_each_row(bench, sequence, continuation, nullptr, comparison.on_row());
  return comparison.score(compressed, resident_bytes(sequence));
}

Score score(Workbench& bench, Compressed& cache, std::span<const model::Token> continuation,
            const Reference& reference) {
  if (cache.press->decode_interval() == 0) return score(bench, cache.sequence, continuation, reference);
  Comparison comparison(bench, continuation.size() - 1, reference);
  const bool compressed = is_compressed(cache.sequence);
  const size_t peak_bytes = for_each_row_pressed(bench, cache, continuation, comparison.on_row());
  return comparison.score(compressed, peak_bytes);
}

}  // namespace fastcache::eval
