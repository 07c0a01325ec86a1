// SPDX-License-Identifier: Apache-2.0
// What /v1/chat/completions and /v1/completions answer, whole or in pieces of a stream. Pure; text is
// appended, no trees: a chunk goes out for every token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fastcache/chat.h"
#include "fastcache/request.h"
#include "server/api_request.h"

namespace fastcache::server {

struct ResponseHead {
  Endpoint endpoint = Endpoint::chat;
  std::string id = {};  // with its prefix
  int64_t created = 0;  // seconds since 1970
  std::string model = {};
  std::string fingerprint = {};
};

struct ToolCallText {
  std::string id = {}, name = {}, arguments = {};
};

// One choice of a whole answer.
struct Choice {
  std::string text = {};  // content of a chat's message
  std::string reasoning = {};
  std::vector<ToolCallText> tool_calls = {};
  std::string logprobs = {};  // JSON; empty: null
  std::string finish_reason = {};

  void add(const ChatDelta& delta);
};

// Sums over the prompts of a request; times are the longest of them.
Summary sum_of(std::span<const Summary> summaries);

// {"prompt_tokens": ...}: logical, whatever a press removed.
std::string usage_json(const Summary& summary);
// {"queue_ms": ..., "rows_before_compression": ...}: what only this server says. finish: of the engine.
std::string fastcache_json(const Summary& summary, std::string_view finish);

std::string whole_response(const ResponseHead& head, std::span<const Choice> choices, const Summary& summary,
                           std::string_view finish);

// Server-sent events. Each function appends one.
class ChunkWriter {
 public:
  // has_usage: the last chunk brings the usage, so the others say `"usage":null`.
  ChunkWriter(const ResponseHead& head, bool has_usage);

  void role(std::string& out, int choice) const;  // the first of a choice, chats only
  // logprobs: JSON, or empty for null.
  void delta(std::string& out, int choice, const ChatDelta& delta, std::string_view logprobs) const;
  void text(std::string& out, int choice, std::string_view text, std::string_view logprobs) const;
  // fastcache: JSON, with the last choice of a stream without usage; else empty.
  void finish(std::string& out, int choice, std::string_view reason, std::string_view logprobs,
              std::string_view fastcache) const;
  void usage(std::string& out, const Summary& summary, std::string_view fastcache) const;

 private:
  void begin(std::string& out, int choice) const;
  void end(std::string& out, std::string_view logprobs, std::string_view reason,
           std::string_view fastcache) const;

  bool chat_;
  std::string prefix_;  // all that stands before the choices
  std::string suffix_;
};

inline constexpr std::string_view kStreamDone = "data: [DONE]\n\n";

// stop, length or tool_calls.
const char* finish_reason(Finish finish, bool has_tool_calls);

}  // namespace fastcache::server
