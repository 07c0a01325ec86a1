// SPDX-License-Identifier: Apache-2.0
// Reads Prometheus' text format by its rules. For tests.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace fastcache::server::test_support {

struct MetricFamily {
  std::string type = {}, help = {};
  // By name and labels, `le` included: `x_bucket{le="1"}` with the labels sorted by name.
  std::map<std::string, double> samples = {};
};
using MetricFamilies = std::map<std::string, MetricFamily>;

// Throws std::runtime_error that names the line: bad names or escapes, a sample outside its family, a family
// or a sample twice, a counter that is negative, a histogram whose buckets fall or do not end with its count.
MetricFamilies read_prometheus(const std::string& text);

// One sample's value; throws if there is none.
double value_of(const MetricFamilies& families, const std::string& family, const std::string& sample);

}  // namespace fastcache::server::test_support
