// SPDX-License-Identifier: Apache-2.0
// Lines from standard input that Ctrl-C can break off. Owner: the main thread.
#pragma once

#include <string>

#include "cli/interrupt.h"

namespace fastcache::cli {

class LineReader {
 public:
  enum class Result { line, interrupted, end_of_input };

  // Blocks. line: without its line feed; a last line needs none. What was typed before Ctrl-C is forgotten.
  // Throws Error (io).
  Result next(const Interrupt& interrupt, std::string& line);

 private:
  bool take_line(std::string& line);

  std::string pending_;
};

}  // namespace fastcache::cli
