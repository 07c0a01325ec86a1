// SPDX-License-Identifier: Apache-2.0
#include "cli/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace fastcache::cli {
namespace {

constexpr int kCells = 30;
constexpr const char* kClear = "\r\x1b[K";

}  // namespace

ProgressBar::ProgressBar() : shown_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (shown_) std::fputs(kClear, stderr);
}

void ProgressBar::show(int done, int of, const std::string& what) {
  if (!shown_) return;
  const int full = static_cast<int>(int64_t{kCells} * done / std::max(of, 1));
  const std::string bar =
      std::string(static_cast<size_t>(full), '#') + std::string(static_cast<size_t>(kCells - full), '.');
  std::fprintf(stderr, "%s[%s] %d/%d %s", kClear, bar.c_str(), done, of, what.c_str());
  std::fflush(stderr);
}

}  // namespace fastcache::cli
