// SPDX-License-Identifier: Apache-2.0
// Ctrl-C as a flag: it stops an answer, not the program.
#pragma once

namespace fastcache::cli {

// Catches SIGINT for the life of the object. At most one at a time; main thread.
class Interrupt {
 public:
  enum class Second { is_caught, ends_the_program };      // the second Ctrl-C, and those behind it
  explicit Interrupt(Second second = Second::is_caught);  // throws Error (io)
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const;
  void clear();
  // Readable from a request until clear(): to wait for Ctrl-C and something else at once. A flag and a
  // blocking read would miss a signal that comes between the two.
  int wait_handle() const;
};

}  // namespace fastcache::cli
