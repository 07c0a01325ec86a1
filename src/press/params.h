// SPDX-License-Identifier: Apache-2.0
// What a user says about compression: which press, how much, and the press's own numbers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fastcache::press {

// How much stays. Never both; neither means: everything stays.
struct Budget {
  std::optional<double> ratio{};  // fraction REMOVED, [0, 1)
  std::optional<int> rows{};      // rows held per head afterwards, >= 1

  // How many of a head's n_rows candidates stay when the rows are shared out evenly: at least 1 where there
  // is one. n_staying: rows of the head that stay anyhow (compressed in an earlier turn). A ratio counts
  // candidates alone: int(n_rows * (1 - ratio)) in double, truncated, which is the formula of the published
  // methods (1,000 rows at 0.8 give 199). `rows` is what the head holds afterwards, n_staying included.
  int rows_kept(int n_rows, int n_staying) const;
};

struct PressParams {
  std::string name = "none";
  std::optional<double> ratio{};            // see Budget
  std::optional<int> budget{};              // see Budget::rows
  uint64_t seed = 0;                        // only presses whose needs().seed is set look at it; inside
                                            //   another press 0 means: that one's
  std::map<std::string, double> numbers{};  // the press's own, by name; those left out have their defaults
  std::map<std::string, std::vector<double>> lists{};  // the same for parameters that are lists
  std::vector<PressParams> inner{};                    // the presses that it wraps, in order

  // After complete(): before it, what a wrapped press says is not here.
  Budget how_much() const { return {.ratio = ratio, .rows = budget}; }
  double number(const std::string& parameter) const { return numbers.at(parameter); }  // after complete()
};

}  // namespace fastcache::press
