// SPDX-License-Identifier: Apache-2.0
// Runs code that may crash or hang in a forked child, so that the program survives. POSIX only.
// The child has the calling thread alone: work must not take locks that other threads may hold, so call this
// early, before the program has threads, or with work that only computes and allocates (glibc makes malloc
// safe across fork).
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

namespace fastcache::model {

struct ChildOutcome {
  enum class Kind { done, failed, crashed, timed_out } kind;
  std::string message;  // failed: what work returned or threw; crashed: the signal, or the text of an
                        // assertion in ggml
};

// work: returns what is wrong, or an empty string. Its standard output and error are discarded. Throws Error
// (io) if there can be no child. memory_bytes: what it may allocate beyond what this process has.
ChildOutcome run_in_child(const std::function<std::string()>& work, std::chrono::milliseconds limit,
                          size_t memory_bytes = size_t{2} << 30);

}  // namespace fastcache::model
