// SPDX-License-Identifier: Apache-2.0
// Prometheus' text format: families of samples, and histograms.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastcache::server {

using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

// Counts per bucket; Owner: one thread.
class Histogram {
 public:
  // bounds: ascending upper ends; they must outlive it. What is above them all counts in +Inf.
  explicit Histogram(std::span<const double> bounds) : bounds_(bounds), counts_(bounds.size() + 1) {}

  void observe(double value, int64_t times = 1);
  int64_t count() const { return count_; }

 private:
  friend class PrometheusText;
  std::span<const double> bounds_;
  std::vector<int64_t> counts_;  // [bounds + 1], not cumulative
  int64_t count_ = 0;
  double sum_ = 0;
};

class PrometheusText {
 public:
  // prefix: of every family's name. Every sample has the common labels too, whose texts must outlive it.
  PrometheusText(std::string prefix, Labels common)
      : prefix_(std::move(prefix)), common_(std::move(common)) {}

  // Begins a family; its samples follow. type: "gauge", "counter" or "histogram".
  void family(std::string_view name, std::string_view type, std::string_view help);
  void sample(double value, const Labels& labels = {});
  void histogram(const Histogram& histogram);

  // A family of one sample.
  void gauge(std::string_view name, std::string_view help, double value);
  void counter(std::string_view name, std::string_view help, double value);

  void append(std::string_view text) { text_ += text; }  // whole families that others wrote
  std::string take() { return std::move(text_); }

 private:
  void line(std::string_view suffix, const Labels& labels, double value);

  std::string prefix_;
  Labels common_;
  std::string family_;
  std::string text_;
};

}  // namespace fastcache::server
