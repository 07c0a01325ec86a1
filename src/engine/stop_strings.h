// SPDX-License-Identifier: Apache-2.0
// Finds stop strings in text that arrives in pieces, in linear time whatever the strings (Aho-Corasick:
// Aho and Corasick, Efficient string matching, CACM 1975). The result does not depend on where the text is
// cut.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fastcache::engine {

inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopBytes = size_t{16} << 10;  // of one string

// Immutable; any number of threads and streams may use one.
class StopStrings {
 public:
  StopStrings() = default;
  // Throws Error (bad_request): an empty string, one that is not UTF-8, too many, too long.
  explicit StopStrings(std::span<const std::string> strings);

  bool empty() const { return strings_.empty(); }
  const std::vector<std::string>& strings() const { return strings_; }

 private:
  friend class StopFilter;
  struct Node {                // one for each prefix of a string; 0 is the empty one
    int32_t first_child = -1;  // children of a node form a list: at most kMaxStopStrings
    int32_t next_sibling = -1;
    int32_t fallback = 0;  // the longest proper suffix that is a node
    int32_t depth = 0;     // bytes
    int32_t string = -1;   // the longest one that the text ends with here
    char byte = 0;
  };
  int32_t child(int32_t node, char byte) const;
  int32_t step(int32_t node, char byte) const;
  void add(int32_t index);
  void link();

  std::vector<std::string> strings_;
  std::vector<Node> nodes_{Node{}};
};

// The text in front of the first stop string. The first is the one that is complete first; of several that
// end with the same byte, the longest. Owner: one thread. Copying is a fork.
class StopFilter {
 public:
  explicit StopFilter(std::shared_ptr<const StopStrings> stops) : stops_(std::move(stops)) {}

  // Returns what can be shown by now: what may be the beginning of a stop string is held back. Whole
  // characters go in and come out.
  std::string push(std::string_view text);
  std::string flush();  // the end of the text: what was held back, unless stopped

  bool stopped() const { return found_ >= 0; }  // push() returns nothing any more
  const std::string* stop_string() const;       // which one; null unless stopped

 private:
  std::shared_ptr<const StopStrings> stops_;
  int32_t node_ = 0;
  int32_t found_ = -1;
  std::string held_;  // node_'s bytes, as long as nothing is found
};

}  // namespace fastcache::engine
