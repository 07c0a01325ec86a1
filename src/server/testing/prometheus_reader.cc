// SPDX-License-Identifier: Apache-2.0
#include "server/testing/prometheus_reader.h"

#include <cmath>
#include <limits>
#include <sstream>
#include <stdexcept>

namespace fastcache::server::test_support {
namespace {

using LabelMap = std::map<std::string, std::string>;

[[noreturn]] void wrong(const std::string& line, const std::string& why) {
  throw std::runtime_error(why + ": " + line);
}

bool is_name(const std::string& name, bool colon) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  for (char c : name) {
    const bool letter =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!letter && !(colon && c == ':')) return false;
  }
  return true;
}

struct Sample {
  std::string name;
  LabelMap labels;
  double value = 0;

  std::string key(bool with_le = true) const {
    std::string text = name + "{";
    for (const auto& [label, value_text] : labels) {
      if (!with_le && label == "le") continue;
      if (text.back() != '{') text += ',';
      text += label + "=\"" + value_text + "\"";
    }
    return text + "}";
  }
};

LabelMap read_labels(const std::string& line, size_t& at) {
  LabelMap labels;
  while (line.at(at) != '}') {
    const size_t equals = line.find("=\"", at);
    if (equals == std::string::npos) wrong(line, "label without a value");
    const std::string name = line.substr(at, equals - at);
    if (!is_name(name, false)) wrong(line, "bad label name");
    std::string value;
    for (at = equals + 2; line.at(at) != '"'; ++at) {
      if (line[at] != '\\') {
        value += line[at];
        continue;
      }
      const char escaped = line.at(++at);
      if (escaped != '\\' && escaped != '"' && escaped != 'n') wrong(line, "bad escape");
      value += escaped == 'n' ? '\n' : escaped;
    }
    if (!labels.emplace(name, value).second) wrong(line, "label twice");
    if (line.at(++at) == ',') ++at;
  }
  return labels;
}

double read_value(const std::string& line, const std::string& text) {
  size_t end = 0;
  const double value = std::stod(text, &end);  // +Inf and NaN too
  if (end != text.size()) wrong(line, "bad value");
  return value;
}

Sample read_sample(const std::string& line) {
  Sample sample;
  size_t at = line.find_first_of("{ ");
  if (at == std::string::npos) wrong(line, "no value");
  sample.name = line.substr(0, at);
  if (!is_name(sample.name, true)) wrong(line, "bad metric name");
  if (line[at] == '{') {
    sample.labels = read_labels(line, ++at);
    ++at;
  }
  if (line.at(at) != ' ') wrong(line, "no space before the value");
  sample.value = read_value(line, line.substr(at + 1));
  return sample;
}

struct Series {  // of a histogram, one set of labels
  std::map<double, double> buckets;
  double count = -1, sum = 0;
  bool has_sum = false;
};

void check_histogram(const std::string& name, const std::vector<Sample>& samples) {
  std::map<std::string, Series> series;
  for (Sample sample : samples) {
    const std::string suffix = sample.name.substr(name.size());
    sample.name = name;
    Series& one = series[sample.key(false)];
    if (suffix == "_bucket") {
      one.buckets[read_value(name, sample.labels.at("le"))] = sample.value;
    } else if (suffix == "_sum") {
      one.has_sum = true;
    } else if (suffix == "_count") {
      one.count = sample.value;
    } else {
      wrong(sample.key(), "no sample of a histogram");
    }
  }
  for (const auto& [key, one] : series) {
    double below = 0;
    for (const auto& [bound, count] : one.buckets) {
      if (count < below) wrong(key, "buckets fall");
      below = count;
    }
    const auto last = one.buckets.find(std::numeric_limits<double>::infinity());
    if (last == one.buckets.end() || last->second != one.count) wrong(key, "+Inf is not the count");
    if (!one.has_sum) wrong(key, "no sum");
  }
}

void check_counter(const std::string& name, const std::vector<Sample>& samples) {
  if (name.size() < 6 || name.substr(name.size() - 6) != "_total") wrong(name, "a counter without _total");
  for (const Sample& sample : samples)
    if (!(sample.value >= 0)) wrong(sample.key(), "negative counter");
}

void close(MetricFamilies& families, const std::string& name, std::vector<Sample>& samples) {
  if (name.empty()) return;
  MetricFamily& family = families.at(name);
  for (const Sample& sample : samples)
    if (!family.samples.emplace(sample.key(), sample.value).second) wrong(sample.key(), "sample twice");
  if (family.type == "histogram")
    check_histogram(name, samples);
  else if (family.type == "counter")
    check_counter(name, samples);
  samples.clear();
}

}  // namespace

MetricFamilies read_prometheus(const std::string& text) {
  if (text.empty() || text.back() != '\n') throw std::runtime_error("the text does not end with a line feed");
  MetricFamilies families;
  std::string open, line;
  std::vector<Sample> samples;
  std::istringstream lines(text);
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string hash, keyword, name, rest;
    if (line.rfind("# ", 0) == 0) {
      words >> hash >> keyword >> name;
      std::getline(words, rest);
    }
    if (keyword == "HELP") {
      close(families, open, samples);
      open = name;
      if (!is_name(name, true) || !families.emplace(name, MetricFamily{.help = rest}).second)
        wrong(line, "bad family, or twice");
    } else if (keyword == "TYPE") {
      if (name != open || !families.at(name).type.empty()) wrong(line, "TYPE without HELP");
      families.at(name).type = rest.substr(1);
      if (rest != " gauge" && rest != " counter" && rest != " histogram") wrong(line, "bad type");
    } else {
      const Sample sample = read_sample(line);
      const bool histogram = !open.empty() && families.at(open).type == "histogram";
      if (histogram ? sample.name.rfind(open + "_", 0) != 0 : sample.name != open)
        wrong(line, "outside its family");
      samples.push_back(sample);
    }
  }
  close(families, open, samples);
  return families;
}

double value_of(const MetricFamilies& families, const std::string& family, const std::string& sample) {
  const auto& samples = families.at(family).samples;
  const auto at = samples.find(sample);
  if (at == samples.end()) throw std::runtime_error("no sample " + sample);
  return at->second;
}

}  // namespace fastcache::server::test_support
