// SPDX-License-Identifier: Apache-2.0
// What the program says: answers on standard output, one-line sentences on standard error.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace fastcache::cli {

// "fastcache: <sentence>" as one line on standard error, whatever names and file contents the sentence
// quotes.
void say(const std::string& sentence);
// say(), and the exit code for it.
int report(const std::string& sentence, Code code);

// Writes at once, past stdio, which would lose text when Ctrl-C interrupts it. Throws Error (io).
void print_now(std::string_view text);

// Throws Error (io) unless all that was printed by stdio has arrived.
void flush_output();

}  // namespace fastcache::cli
