// SPDX-License-Identifier: Apache-2.0
#include "server/prometheus.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

namespace fastcache::server {
namespace {

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (char c : text) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '"' && quotes)
      out += "\\\"";
    else
      out += c;
  }
  return out;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

}  // namespace

void Histogram::observe(double value, int64_t times) {
  const auto at = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  counts_[static_cast<size_t>(at - bounds_.begin())] += times;
  count_ += times;
  sum_ += value * static_cast<double>(times);
}

void PrometheusText::family(std::string_view name, std::string_view type, std::string_view help) {
  family_ = fmt::format("{}{}", prefix_, name);
  text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", family_, escaped(help, false), family_, type);
}

void PrometheusText::line(std::string_view suffix, const Labels& labels, double value) {
  text_ += family_;
  text_ += suffix;
  char separator = '{';
  for (const Labels* list : {&std::as_const(common_), &labels}) {
    for (const auto& [name, text] : *list) {
      text_ += fmt::format("{}{}=\"{}\"", separator, name, escaped(text, true));
      separator = ',';
    }
  }
  text_ += fmt::format("{}{}\n", separator == '{' ? " " : "} ", number(value));
}

void PrometheusText::sample(double value, const Labels& labels) { line("", labels, value); }

void PrometheusText::histogram(const Histogram& histogram) {
  int64_t cumulative = 0;
  for (size_t i = 0; i < histogram.counts_.size(); ++i) {
    cumulative += histogram.counts_[i];
    const std::string bound = i < histogram.bounds_.size() ? number(histogram.bounds_[i]) : "+Inf";
    line("_bucket", {{"le", bound}}, static_cast<double>(cumulative));
  }
  line("_sum", {}, histogram.sum_);
  line("_count", {}, static_cast<double>(histogram.count_));
}

void PrometheusText::gauge(std::string_view name, std::string_view help, double value) {
  family(name, "gauge", help);
  sample(value);
}

void PrometheusText::counter(std::string_view name, std::string_view help, double value) {
  family(name, "counter", help);
  sample(value);
}

}  // namespace fastcache::server
