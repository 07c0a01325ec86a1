// SPDX-License-Identifier: Apache-2.0
// Runs the program `fastcache` as a user would: as a child, through pipes or on a terminal of its own.
// FASTCACHE_PROGRAM (compile definition) says where it is.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace fastcache::test_support {

struct ChildInput {
  std::string text = {};                      // standard input
  std::vector<std::string> environment = {};  // "NAME=value", added to ours
  std::string out_path = {};                  // where standard output goes; empty: a pipe
  std::string interrupt_after = {};           // SIGINT once so much has come on standard output
  std::chrono::seconds limit{120};            // then it is killed, and the test fails
};

struct ChildResult {
  int exit_code = -1;  // -1: a signal ended it
  int signal = 0;
  std::string out, err;
};

ChildResult run_fastcache(const std::vector<std::string>& arguments, const ChildInput& input = {});

// The program on a pseudo-terminal: what a chat is. One object, one process.
class TerminalChild {
 public:
  explicit TerminalChild(const std::vector<std::string>& arguments);
  ~TerminalChild();
  TerminalChild(const TerminalChild&) = delete;
  TerminalChild& operator=(const TerminalChild&) = delete;

  void type(const std::string& keys);  // "\x03" is Ctrl-C, "\x04" is Ctrl-D
  // Waits until the screen shows the text (again, after what earlier calls saw); returns what came up to its
  // end. Empty, and a test failure, when it does not come.
  std::string wait_for(const std::string& text);
  void wait_for_more();  // until anything new is on the screen
  int wait_for_exit();   // the exit code; -1: a signal, or it did not end

 private:
  pid_t child_ = -1;
  int terminal_ = -1;
  std::string screen_;  // not yet seen by wait_for
};

}  // namespace fastcache::test_support
