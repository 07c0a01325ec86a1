// SPDX-License-Identifier: Apache-2.0
// All presses by name. Command line, API, documentation and tests walk this table.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "press/press.h"

namespace fastcache::press {

struct PressNumber {  // a parameter that one press has
  std::string_view name;
  double standard = 0.0;  // the value if the user gives none
  double min = 0.0;
  double max = 0.0;
  bool whole = false;  // only whole numbers
  bool list = false;   // a list of them, which the user must give
  std::string_view help;
};

enum class Amount : uint8_t {  // where the user says how much a press removes
  own,                         // ratio or budget of the press; a wrapper also takes those of what it wraps
  rows,                        // the same, but a budget only
  inner,                       // in each of the presses that it wraps
  listed,                      // in a list among its parameters
};

// The first tokens of a text: many methods keep them, for all queries attend to them.
inline constexpr PressNumber kSinkTokens{.name = "n_sink",
                                         .standard = 4,
                                         .min = 0,
                                         .max = 1 << 20,
                                         .whole = true,
                                         .help = "first tokens that stay"};

struct PressRow {
  std::string_view name;
  std::unique_ptr<Press> (*make)(const PressParams& completed) = nullptr;
  std::span<const PressNumber> numbers;
  bool removes = true;  // false: takes neither a budget nor a ratio other than 0
  std::string_view summary;

  Amount amount = Amount::own;
  // Its scores alone say which rows stay: allocate() and apply() are those of Press. Wrappers want that.
  bool plain_scores = true;
  // Where plain_scores is false: only allocate() is its own.
  bool plain_rows = false;
  // A wrapper has this instead of make. inner: min_inner .. max_inner presses, made from completed.inner.
  // May throw Error for a press that it cannot wrap.
  std::unique_ptr<Press> (*wrap)(const PressParams& completed,
                                 std::vector<std::unique_ptr<Press>> inner) = nullptr;
  int min_inner = 0;
  int max_inner = 0;
  bool keeps_all = false;  // a wrapper that leaves all to what it wraps: that must have an amount of its own
  bool keeps_counts = false;  // a wrapper that leaves allocate() to what it wraps: it takes plain_rows too
};

std::span<const PressRow* const> presses();

// Throws Error (not_found) that lists what exists.
const PressRow& find_press(std::string_view name);

// Names are the same without regard to case and underscores.
bool same_name(std::string_view a, std::string_view b);

// Checks everything a user said and fills in the defaults; names become those of the table, ratio and budget
// move out to where they count, seeds in to where they are used. complete(complete(p)) is complete(p). Throws
// Error: not_found for an unknown press, bad_request for all else; both list what exists.
PressParams complete(const PressParams& params);

// complete()s, then makes the press of one request. Throws Error, also where a wrapper cannot wrap a press.
std::unique_ptr<Press> make_press(const PressParams& params);

// Name and all that changes the outcome, defaults filled in, in a fixed order: what the prefix cache's key
// takes. "streaming_llm(n_sink=4, ratio=0.8)"; the seed is in it only where the press needs one. It is also a
// text that parse_press() takes and that means the same. Throws as make_press().
std::string press_identity(const PressParams& params);
Hash128 press_hash(const PressParams& params);

}  // namespace fastcache::press
