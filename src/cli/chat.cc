// SPDX-License-Identifier: Apache-2.0
#include "cli/chat.h"

#include <cstdio>
#include <iostream>

#include "cli/output.h"
#include "model/utf8.h"

namespace fastcache::cli {
namespace {

void turn(Session& session, const std::string& line) {
  try {
    session.ask(line);
  } catch (const Error& error) {
    if (error.code() == Code::io) throw;
    const bool full = error.code() == Code::context_too_long || error.code() == Code::pool_too_small;
    say(std::string(error.what()) + (full ? "; /reset starts afresh" : ""));
  }
}

}  // namespace

void chat(Session& session) {
  std::fprintf(stderr, "Chat with %s. Ctrl-C stops an answer, /reset starts afresh, Ctrl-D leaves.\n",
               model::displayable(session.model_name()).c_str());
  while (true) {
    session.interrupt().clear();
    std::fputs("> ", stderr);
    std::string line;
    if (!std::getline(std::cin, line)) {
      if (!session.interrupt().requested()) break;  // end of input
      std::cin.clear();
      clearerr(stdin);
      std::fputs("\n(Ctrl-D leaves)\n", stderr);
      continue;
    }
    if (line == "/reset")
      session.reset();
    else if (!line.empty())
      turn(session, line);
  }
  std::fputs("\n", stderr);
}

}  // namespace fastcache::cli
