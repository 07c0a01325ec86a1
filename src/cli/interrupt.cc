// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "base/error.h"

namespace fastcache::cli {
namespace {

// A signal handler can reach nothing else.
volatile std::sig_atomic_t interrupted = 0;
std::array<int, 2> wake_pipe{-1, -1};

void on_interrupt(int) {
  const int saved_errno = errno;
  interrupted = 1;
  [[maybe_unused]] const ssize_t n = write(wake_pipe[1], "", 1);  // a full pipe is readable anyway
  errno = saved_errno;
}

}  // namespace

Interrupt::Interrupt(Second second) {
  if (pipe2(wake_pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0)
    throw Error{Code::io, "no pipe to wait for Ctrl-C: too many open files?"};
  interrupted = 0;
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  if (second == Second::ends_the_program) action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
}

Interrupt::~Interrupt() {
  std::signal(SIGINT, SIG_DFL);
  for (int end : wake_pipe) close(end);
}

bool Interrupt::requested() const { return interrupted != 0; }

void Interrupt::clear() {
  std::array<char, 64> wakes;
  while (read(wake_pipe[0], wakes.data(), wakes.size()) > 0) {
  }
  interrupted = 0;
}

int Interrupt::wait_handle() const { return wake_pipe[0]; }

}  // namespace fastcache::cli
