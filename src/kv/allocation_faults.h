// SPDX-License-Identifier: Apache-2.0
// Lets a test make any one allocation of a pool fail. Owner: the pool's thread.
#pragma once

#include <cstdint>

namespace fastcache::kv {

class AllocationFaults {
 public:
  // The allocation after the next n fails; those around it do not.
  void fail_after(int64_t n) { countdown_ = n; }
  void disarm() { countdown_ = -1; }
  bool armed() const { return countdown_ >= 0; }

  // The pool asks once for each allocation of one or more pages.
  bool should_fail() { return countdown_ >= 0 && countdown_-- == 0; }

 private:
  int64_t countdown_ = -1;  // -1: none planned
};

}  // namespace fastcache::kv
