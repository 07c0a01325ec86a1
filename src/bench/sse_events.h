// SPDX-License-Identifier: Apache-2.0
// Server-sent events, as the bytes come: cut anywhere, any of the three line ends.
// source: WHATWG HTML, "Server-sent events"
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace fastcache::bench {

class SseEvents {
 public:
  static constexpr size_t kMostBytes = size_t{16} << 20;  // of one event

  // Calls on_data with the data of each event that is complete now: of an empty line, not of the stream's
  // end. False: an event is larger than kMostBytes; the rest of the stream cannot be read.
  bool push(std::string_view bytes, const std::function<void(std::string_view)>& on_data);

 private:
  void end_line(const std::function<void(std::string_view)>& on_data);

  std::string line_, data_;
  bool has_data_ = false;
  bool skip_line_feed_ = false;  // the second half of \r\n
};

}  // namespace fastcache::bench
