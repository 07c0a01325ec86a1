// SPDX-License-Identifier: Apache-2.0
// A line on standard error that is written over; nothing where that is no terminal.
#pragma once

#include <string>

namespace fastcache::cli {

class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();  // clears the line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  bool is_shown() const { return shown_; }
  void show(int done, int of, const std::string& what);

 private:
  bool shown_;
};

}  // namespace fastcache::cli
