// SPDX-License-Identifier: Apache-2.0
#include "cli/chat.h"

#include <cstdio>

#include "cli/line_reader.h"
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
  LineReader reader;
  while (true) {
    session.interrupt().clear();
    std::fputs("> ", stderr);
    std::string line;
    const LineReader::Result result = reader.next(session.interrupt(), line);
    if (result == LineReader::Result::end_of_input) break;
    if (result == LineReader::Result::interrupted) {
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
