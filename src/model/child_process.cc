// SPDX-License-Identifier: Apache-2.0
#include "model/child_process.h"

#include <fcntl.h>
#include <ggml.h>
#include <poll.h>
#include <spdlog/fmt/fmt.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <system_error>

#include "base/error.h"

namespace fastcache::model {
namespace {

using Clock = std::chrono::steady_clock;

// What the child says before it ends: one letter, then text. A child that says nothing crashed.
constexpr char kDone = 'd', kFailed = 'f', kAborted = 'a';

int child_report_fd = -1;  // set in the child only

void report(char kind, std::string_view text) {
  std::array<char, 1024> message{};
  message[0] = kind;
  const size_t length = std::min(text.size(), message.size() - 1);
  std::memcpy(message.data() + 1, text.data(), length);
  // Shorter than PIPE_BUF and the pipe is empty: written at once or not at all.
  if (write(child_report_fd, message.data(), length + 1) < 0) _exit(3);
}

void on_ggml_abort(const char* text) {
  std::string_view message = text;  // "/where/it/was/built/file.cpp:12: what"
  if (const size_t slash = message.substr(0, message.find(": ")).rfind('/');
      slash != std::string_view::npos) {
    message.remove_prefix(slash + 1);
  }
  report(kAborted, message);
  _exit(1);  // not abort(): no core file, no backtrace by a debugger that ggml would start
}

void discard_output() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  dup2(null, STDOUT_FILENO);
  dup2(null, STDERR_FILENO);
}

// Allocations beyond that fail. RLIMIT_DATA, not RLIMIT_AS: mapped model files are nobody's fault.
void limit_memory(size_t memory_bytes) {
  unsigned long pages[6] = {};  // the sixth: private writable memory
  FILE* statm = std::fopen("/proc/self/statm", "re");
  if (statm == nullptr) return;
  for (unsigned long& field : pages) {
    if (std::fscanf(statm, "%lu", &field) != 1) field = 0;
  }
  std::fclose(statm);
  const rlim_t most =
      static_cast<rlim_t>(pages[5]) * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + memory_bytes;
  const rlimit limit{most, most};
  setrlimit(RLIMIT_DATA, &limit);
}

[[noreturn]] void be_the_child(const std::function<std::string()>& work, int fd,
                               std::chrono::milliseconds limit, size_t memory_bytes) {
  child_report_fd = fd;
  discard_output();
  constexpr rlimit kNoCore{0, 0};
  setrlimit(RLIMIT_CORE, &kNoCore);
  limit_memory(memory_bytes);
  // Should the parent die, the child must not stay behind.
  alarm(static_cast<unsigned>(limit.count() / 1000 + 2));
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGTERM, SIGINT, SIGHUP})
    std::signal(number, SIG_DFL);
  ggml_set_abort_callback(on_ggml_abort);
  try {
    const std::string wrong = work();
    report(wrong.empty() ? kDone : kFailed, wrong);
  } catch (const std::exception& error) {
    report(kFailed, error.what());
  } catch (...) {
    report(kFailed, "unknown exception");
  }
  _exit(0);  // no destructors: they belong to the parent
}

std::string read_report(int fd) {
  std::array<char, 1024> buffer;
  const ssize_t n = read(fd, buffer.data(), buffer.size());
  return n > 0 ? std::string(buffer.data(), static_cast<size_t>(n)) : std::string();
}

// True if the child has ended. Its status is unknown (0) where the program ignores SIGCHLD.
bool has_ended(pid_t child, int* status) {
  const pid_t ended = waitpid(child, status, WNOHANG);
  return ended == child || (ended < 0 && errno == ECHILD);
}

ChildOutcome outcome_of(const std::string& said, int status) {
  using Kind = ChildOutcome::Kind;
  const std::string text = said.empty() ? "" : said.substr(1);
  if (said.empty()) {
    const std::string how =
        WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status)) : "it ended without a word";
    return {Kind::crashed, how};
  }
  if (said[0] == kAborted) return {Kind::crashed, text};
  return {said[0] == kDone ? Kind::done : Kind::failed, text};
}

ChildOutcome wait_for(pid_t child, int fd, std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  int status = 0;
  std::string said;
  while (!has_ended(child, &status)) {
    if (Clock::now() >= deadline) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      return {ChildOutcome::Kind::timed_out, fmt::format("no answer within {} s", limit.count() / 1000)};
    }
    pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
    if (!said.empty()) ready.fd = -1;  // just a pause
    poll(&ready, 1, said.empty() ? 20 : 1);
    if (said.empty() && (ready.revents & POLLIN) != 0) said = read_report(fd);
  }
  if (said.empty()) said = read_report(fd);
  return outcome_of(said, status);
}

}  // namespace

ChildOutcome run_in_child(const std::function<std::string()>& work, std::chrono::milliseconds limit,
                          size_t memory_bytes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw Error{Code::io,
                fmt::format("no pipe to a child process: {}", std::generic_category().message(errno))};
  }
  const pid_t child = fork();
  if (child == 0) be_the_child(work, ends[1], limit, memory_bytes);
  const int fork_error = errno;
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    throw Error{Code::io, fmt::format("no child process: {}", std::generic_category().message(fork_error))};
  }
  ChildOutcome outcome = wait_for(child, ends[0], limit);
  close(ends[0]);
  return outcome;
}

}  // namespace fastcache::model
