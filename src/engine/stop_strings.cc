// SPDX-License-Identifier: Apache-2.0
#include "engine/stop_strings.h"

#include <utility>

#include <spdlog/fmt/fmt.h>

#include "base/error.h"
#include "model/utf8.h"

namespace fastcache::engine {

StopStrings::StopStrings(std::span<const std::string> strings) : strings_(strings.begin(), strings.end()) {
  if (strings_.size() > kMaxStopStrings) {
    throw Error{Code::bad_request, fmt::format("stop has {} strings; at most {} are possible",
                                               strings_.size(), kMaxStopStrings)};
  }
  for (size_t i = 0; i < strings_.size(); ++i) {
    const std::string& text = strings_[i];
    if (text.empty()) throw Error{Code::bad_request, fmt::format("stop string {} is empty", i)};
    if (text.size() > kMaxStopBytes) {
      throw Error{Code::bad_request, fmt::format("stop string {} has {} bytes; at most {} are possible", i,
                                                 text.size(), kMaxStopBytes)};
    }
    if (const auto bad = model::find_invalid_utf8(text)) {
      throw Error{Code::bad_request, fmt::format("stop string {} is not valid UTF-8 at byte {}", i, *bad)};
    }
    add(static_cast<int32_t>(i));
  }
  link();
}

int32_t StopStrings::child(int32_t node, char byte) const {
  int32_t next = nodes_[static_cast<size_t>(node)].first_child;
  while (next >= 0 && nodes_[static_cast<size_t>(next)].byte != byte)
    next = nodes_[static_cast<size_t>(next)].next_sibling;
  return next;
}

// The node of the longest suffix of what was read. Each fallback shortens what an earlier byte had
// lengthened: over a whole text there are fewer of them than bytes.
int32_t StopStrings::step(int32_t node, char byte) const {
  while (true) {
    const int32_t next = child(node, byte);
    if (next >= 0) return next;
    if (node == 0) return 0;
    node = nodes_[static_cast<size_t>(node)].fallback;
  }
}

void StopStrings::add(int32_t index) {
  int32_t node = 0;
  for (const char byte : strings_[static_cast<size_t>(index)]) {
    int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      Node& parent = nodes_[static_cast<size_t>(node)];
      const Node made{.next_sibling = parent.first_child, .depth = parent.depth + 1, .byte = byte};
      parent.first_child = next;
      nodes_.push_back(made);
    }
    node = next;
  }
  int32_t& string = nodes_[static_cast<size_t>(node)].string;
  if (string < 0) string = index;
}

// Breadth first: a fallback is shorter than its node, so it is complete by then.
void StopStrings::link() {
  std::vector<int32_t> queue{0};
  for (size_t i = 0; i < queue.size(); ++i) {
    const int32_t parent = queue[i];
    int32_t next = nodes_[static_cast<size_t>(parent)].first_child;
    for (; next >= 0; next = nodes_[static_cast<size_t>(next)].next_sibling) {
      Node& node = nodes_[static_cast<size_t>(next)];
      if (parent != 0) node.fallback = step(nodes_[static_cast<size_t>(parent)].fallback, node.byte);
      if (node.string < 0) node.string = nodes_[static_cast<size_t>(node.fallback)].string;
      queue.push_back(next);
    }
  }
}

std::string StopFilter::push(std::string_view text) {
  if (stopped()) return {};
  if (stops_->empty()) return std::string(text);
  held_ += text;
  size_t kept = 0;  // held_'s bytes that may still be the beginning of a stop string
  for (size_t i = 0; i < text.size(); ++i) {
    node_ = stops_->step(node_, text[i]);
    const StopStrings::Node& node = stops_->nodes_[static_cast<size_t>(node_)];
    kept = static_cast<size_t>(node.depth);
    if (node.string < 0) continue;
    found_ = node.string;
    kept = text.size() - 1 - i + stops_->strings_[static_cast<size_t>(found_)].size();
    break;
  }
  if (text.empty()) return {};
  std::string shown = held_.substr(0, held_.size() - kept);
  held_.erase(0, stopped() ? held_.size() : shown.size());
  return shown;
}

std::string StopFilter::flush() {
  node_ = 0;
  return std::exchange(held_, {});
}

const std::string* StopFilter::stop_string() const {
  return stopped() ? &stops_->strings_[static_cast<size_t>(found_)] : nullptr;
}

}  // namespace fastcache::engine
