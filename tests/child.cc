// SPDX-License-Identifier: Apache-2.0
#include "child.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>

namespace fastcache::test_support {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{60};

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    read_end = ends[0], write_end = ends[1];
  }
  ~Pipe() { close_read(), close_write(); }
  void close_read() { shut(read_end); }
  void close_write() { shut(write_end); }
  static void shut(int& end) {
    if (end >= 0) close(end);
    end = -1;
  }
};

[[noreturn]] void execute(const std::vector<std::string>& arguments) {
  std::vector<char*> argv{const_cast<char*>(FASTCACHE_PROGRAM)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(FASTCACHE_PROGRAM, argv.data());
  _exit(127);
}

// Appends what there is; false at the end.
bool take(int from, std::string& into) {
  std::array<char, 65536> buffer;
  const ssize_t n = read(from, buffer.data(), buffer.size());
  if (n > 0) into.append(buffer.data(), static_cast<size_t>(n));
  return n > 0 || (n < 0 && errno == EINTR);
}

// Feeds and reads the child until it has closed its outputs, or the time is over.
void converse(pid_t child, Pipe& in, Pipe& out, Pipe& err, const ChildInput& input, ChildResult& result) {
  const Clock::time_point deadline = Clock::now() + input.limit;
  size_t written = 0;
  bool interrupted = input.interrupt_after.empty();
  if (input.text.empty()) in.close_write();
  while (out.read_end >= 0 || err.read_end >= 0) {
    if (Clock::now() > deadline) {
      ADD_FAILURE() << "the program did not end in time";
      kill(child, SIGKILL);
      return;
    }
    std::array<pollfd, 3> ends{
        {{out.read_end, POLLIN, 0}, {err.read_end, POLLIN, 0}, {in.write_end, POLLOUT, 0}}};
    poll(ends.data(), ends.size(), 100);
    if (ends[0].revents != 0 && !take(out.read_end, result.out)) out.close_read();
    if (ends[1].revents != 0 && !take(err.read_end, result.err)) err.close_read();
    if (ends[2].revents != 0) {
      const size_t n = std::min<size_t>(input.text.size() - written, 4096);
      const ssize_t done = write(in.write_end, input.text.data() + written, n);
      if (done > 0) written += static_cast<size_t>(done);
      if (done < 0 || written == input.text.size()) in.close_write();
    }
    if (!interrupted && result.out.find(input.interrupt_after) != std::string::npos) {
      interrupted = true;
      kill(child, SIGINT);
    }
  }
}

}  // namespace

ChildResult run_fastcache(const std::vector<std::string>& arguments, const ChildInput& input) {
  signal(SIGPIPE, SIG_IGN);  // a child that does not read its input is no failure
  Pipe in, out, err;
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("no process");
  if (child == 0) {
    signal(SIGPIPE, SIG_DFL);
    dup2(in.read_end, STDIN_FILENO);
    dup2(input.out_path.empty() ? out.write_end : open(input.out_path.c_str(), O_WRONLY), STDOUT_FILENO);
    dup2(err.write_end, STDERR_FILENO);
    for (const std::string& variable : input.environment) putenv(const_cast<char*>(variable.c_str()));
    execute(arguments);
  }
  in.close_read(), out.close_write(), err.close_write();
  ChildResult result;
  converse(child, in, out, err, input, result);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

TerminalChild::TerminalChild(const std::vector<std::string>& arguments) {
  child_ = forkpty(&terminal_, nullptr, nullptr, nullptr);
  if (child_ < 0) throw std::runtime_error("no pseudo-terminal");
  if (child_ == 0) execute(arguments);
}

TerminalChild::~TerminalChild() {
  if (child_ > 0) {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  close(terminal_);
}

void TerminalChild::type(const std::string& keys) {
  EXPECT_EQ(write(terminal_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
}

std::string TerminalChild::wait_for(const std::string& text) {
  const Clock::time_point deadline = Clock::now() + kPatience;
  while (true) {
    if (const size_t at = screen_.find(text); at != std::string::npos) {
      const std::string seen = screen_.substr(0, at + text.size());
      screen_.erase(0, seen.size());
      return seen;
    }
    pollfd end{terminal_, POLLIN, 0};
    const bool open = Clock::now() < deadline && (poll(&end, 1, 200) == 0 || take(terminal_, screen_));
    if (!open) {
      ADD_FAILURE() << "'" << text << "' did not come; there was:\n" << screen_;
      return "";
    }
  }
}

void TerminalChild::wait_for_more() {
  pollfd end{terminal_, POLLIN, 0};
  const int patience_ms = static_cast<int>(std::chrono::milliseconds(kPatience).count());
  if (screen_.empty() && (poll(&end, 1, patience_ms) <= 0 || !take(terminal_, screen_)))
    ADD_FAILURE() << "nothing came";
}

int TerminalChild::wait_for_exit() {
  const Clock::time_point deadline = Clock::now() + kPatience;
  int status = 0;
  while (waitpid(child_, &status, WNOHANG) == 0) {
    if (Clock::now() > deadline) return -1;
    pollfd end{terminal_, POLLIN, 0};
    if (poll(&end, 1, 50) > 0) take(terminal_, screen_);
  }
  child_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace fastcache::test_support
