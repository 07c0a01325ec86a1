// SPDX-License-Identifier: Apache-2.0
// All presses by name. Command line, API, documentation and tests walk this table.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "press/press.h"

namespace fastcache::press {

struct PressNumber {  // a parameter that one press has
  std::string_view name;
  double standard = 0.0;  // the value if the user gives none
  double min = 0.0;
  double max = 0.0;
  bool whole = false;  // only whole numbers
  std::string_view help;
};

struct PressRow {
  std::string_view name;
  std::unique_ptr<Press> (*make)(const PressParams& completed);
  std::span<const PressNumber> numbers;
  bool removes = true;  // false: takes neither a budget nor a ratio other than 0
  std::string_view summary;
};

std::span<const PressRow* const> presses();

// Checks everything a user said and fills in the defaults. Throws Error: not_found for an unknown press,
// bad_request for all else; both list what exists.
PressParams complete(const PressParams& params);

// complete()s, then makes the press of one request.
std::unique_ptr<Press> make_press(const PressParams& params);

// Name and all that changes the outcome, defaults filled in, in a fixed order: what the prefix cache's key
// takes. "streaming_llm(n_sink=4, ratio=0.8)"; the seed is in it only where the press needs one. Throws as
// complete().
std::string press_identity(const PressParams& params);
Hash128 press_hash(const PressParams& params);

}  // namespace fastcache::press
