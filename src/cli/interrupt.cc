// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt.h"

#include <csignal>

namespace fastcache::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;  // a signal handler can reach nothing else

void on_interrupt(int) { interrupted = 1; }

}  // namespace

Interrupt::Interrupt() {
  clear();
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: a read from the terminal returns
  sigaction(SIGINT, &action, nullptr);
}

Interrupt::~Interrupt() { std::signal(SIGINT, SIG_DFL); }

bool Interrupt::requested() const { return interrupted != 0; }
void Interrupt::clear() { interrupted = 0; }

}  // namespace fastcache::cli
