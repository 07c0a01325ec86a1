// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <iostream>
#include <system_error>

#include "base/log.h"
#include "model/utf8.h"

namespace fastcache::cli {
namespace {

[[noreturn]] void fail(int error) {
  throw Error{Code::io,
              fmt::format("standard output cannot be written: {}", std::generic_category().message(error))};
}

}  // namespace

void say(const std::string& sentence) {
  std::fprintf(stderr, "fastcache: %s\n", model::displayable(sentence).c_str());
}

int report(const std::string& sentence, Code code) {
  say(sentence);
  return exit_code(code);
}

void print_now(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(STDOUT_FILENO, text.data(), text.size());
    if (n >= 0)
      text.remove_prefix(static_cast<size_t>(n));
    else if (errno != EINTR)
      fail(errno);
  }
}

void flush_output() {
  std::cout.flush();
  errno = 0;
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) fail(errno != 0 ? errno : EIO);
}

}  // namespace fastcache::cli
