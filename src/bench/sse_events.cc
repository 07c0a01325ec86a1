// SPDX-License-Identifier: Apache-2.0
#include "bench/sse_events.h"

#include <algorithm>

namespace fastcache::bench {

bool SseEvents::push(std::string_view bytes, const std::function<void(std::string_view)>& on_data) {
  while (!bytes.empty()) {
    if (skip_line_feed_ && bytes[0] == '\n') bytes.remove_prefix(1);
    skip_line_feed_ = false;
    const size_t end = std::min(bytes.find_first_of("\r\n"), bytes.size());
    line_.append(bytes.substr(0, end));
    if (line_.size() + data_.size() > kMostBytes) return false;
    if (end == bytes.size()) break;
    skip_line_feed_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    end_line(on_data);
  }
  return true;
}

void SseEvents::end_line(const std::function<void(std::string_view)>& on_data) {
  if (line_.empty()) {
    if (has_data_) on_data(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  std::string_view line = line_;
  const size_t colon = std::min(line.find(':'), line.size());
  if (line.substr(0, colon) == "data") {
    line.remove_prefix(std::min(colon + 1, line.size()));
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (has_data_) data_ += '\n';
    data_ += line;
    has_data_ = true;
  }
  line_.clear();
}

}  // namespace fastcache::bench
