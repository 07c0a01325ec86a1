// SPDX-License-Identifier: Apache-2.0
#include "press/params.h"

#include <algorithm>

namespace fastcache::press {

int Budget::rows_kept(int n_rows, int n_staying) const {
  int kept = n_rows;
  if (ratio) kept = static_cast<int>(n_rows * (1.0 - *ratio));
  if (rows) kept = *rows - n_staying;
  return std::min(n_rows, std::max(1, kept));
}

}  // namespace fastcache::press
