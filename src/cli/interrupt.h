// SPDX-License-Identifier: Apache-2.0
// Ctrl-C as a flag: it stops an answer, not the program.
#pragma once

namespace fastcache::cli {

// Catches SIGINT for the life of the object. At most one at a time; main thread.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const;
  void clear();
};

}  // namespace fastcache::cli
