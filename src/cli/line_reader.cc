// SPDX-License-Identifier: Apache-2.0
#include "cli/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace fastcache::cli {
namespace {

[[noreturn]] void throw_unreadable() {
  throw Error{Code::io, "standard input cannot be read: " + std::generic_category().message(errno)};
}

}  // namespace

bool LineReader::take_line(std::string& line) {
  const size_t end = pending_.find('\n');
  if (end == std::string::npos) return false;
  line = pending_.substr(0, end);
  pending_.erase(0, end + 1);
  return true;
}

LineReader::Result LineReader::next(const Interrupt& interrupt, std::string& line) {
  while (!take_line(line)) {
    std::array<pollfd, 2> waits{{{STDIN_FILENO, POLLIN, 0}, {interrupt.wait_handle(), POLLIN, 0}}};
    if (poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) throw_unreadable();
    if (interrupt.requested()) {
      pending_.clear();
      return Result::interrupted;
    }
    if (waits[0].revents == 0) continue;
    std::array<char, 4096> buffer;
    const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && errno != EINTR && errno != EIO) throw_unreadable();  // EIO: the terminal is gone
    if (n > 0) pending_.append(buffer.data(), static_cast<size_t>(n));
    if (n == 0 || (n < 0 && errno == EIO)) {
      if (pending_.empty()) return Result::end_of_input;
      line = std::move(pending_);
      pending_.clear();
      return Result::line;
    }
  }
  return Result::line;
}

}  // namespace fastcache::cli
