// SPDX-License-Identifier: Apache-2.0
#include "server/api_response.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "server/json_text.h"

namespace fastcache::server {
namespace {

std::string head_json(const ResponseHead& head, std::string_view object) {
  return fmt::format(R"({{"id":{},"object":"{}","created":{},"model":{},"system_fingerprint":{})",
                     json_string(head.id), object, head.created, json_string(head.model),
                     json_string(head.fingerprint));
}

void append_tool_call(std::string& out, const ToolCallText& call) {
  out += R"({"id":)";
  append_json_string(out, call.id);
  out += R"(,"type":"function","function":{"name":)";
  append_json_string(out, call.name);
  out += R"(,"arguments":)";
  append_json_string(out, call.arguments);
  out += "}}";
}

void append_message(std::string& out, const Choice& choice) {
  out += R"("message":{"role":"assistant","content":)";
  if (choice.text.empty() && !choice.tool_calls.empty())
    out += "null";
  else
    append_json_string(out, choice.text);
  if (!choice.reasoning.empty()) {
    out += R"(,"reasoning_content":)";
    append_json_string(out, choice.reasoning);
  }
  if (!choice.tool_calls.empty()) {
    out += R"(,"tool_calls":[)";
    for (size_t i = 0; i < choice.tool_calls.size(); ++i) {
      if (i > 0) out += ',';
      append_tool_call(out, choice.tool_calls[i]);
    }
    out += ']';
  }
  out += '}';
}

void append_choice(std::string& out, Endpoint endpoint, size_t index, const Choice& choice) {
  out += fmt::format(R"({{"index":{},)", index);
  if (endpoint == Endpoint::chat) {
    append_message(out, choice);
  } else {
    out += R"("text":)";
    append_json_string(out, choice.text);
  }
  out += R"(,"logprobs":)";
  out += choice.logprobs.empty() ? "null" : choice.logprobs;
  out += fmt::format(R"(,"finish_reason":"{}"}})", choice.finish_reason);
}

}  // namespace

void Choice::add(const ChatDelta& delta) {
  text += delta.content;
  reasoning += delta.reasoning;
  if (delta.tool_call < 0) return;
  const auto index = static_cast<size_t>(delta.tool_call);
  if (tool_calls.size() <= index) tool_calls.resize(index + 1);
  tool_calls[index].id += delta.tool_call_id;
  tool_calls[index].name += delta.tool_name;
  tool_calls[index].arguments += delta.tool_arguments;
}

Summary sum_of(std::span<const Summary> summaries) {
  Summary sum;
  for (const Summary& s : summaries) {
    sum.prompt_tokens += s.prompt_tokens;
    sum.cached_tokens += s.cached_tokens;
    sum.generated_tokens += s.generated_tokens;
    sum.preemptions += s.preemptions;
    sum.queue_ms = std::max(sum.queue_ms, s.queue_ms);
    sum.prefill_ms = std::max(sum.prefill_ms, s.prefill_ms);
    sum.compress_ms = std::max(sum.compress_ms, s.compress_ms);
    sum.decode_ms = std::max(sum.decode_ms, s.decode_ms);
    sum.ttft_ms = std::max(sum.ttft_ms, s.ttft_ms);
    sum.tpot_ms = std::max(sum.tpot_ms, s.tpot_ms);
    sum.rows_before_compression += s.rows_before_compression;
    sum.rows_after_compression += s.rows_after_compression;
    sum.freed_bytes += s.freed_bytes;
  }
  return sum;
}

std::string usage_json(const Summary& s) {
  return fmt::format(R"({{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},)"
                     R"("prompt_tokens_details":{{"cached_tokens":{}}}}})",
                     s.prompt_tokens, s.generated_tokens, s.prompt_tokens + s.generated_tokens,
                     s.cached_tokens);
}

std::string fastcache_json(const Summary& s, std::string_view finish) {
  return fmt::format(
      R"({{"queue_ms":{:.3f},"prefill_ms":{:.3f},"compress_ms":{:.3f},"decode_ms":{:.3f},)"
      R"("ttft_ms":{:.3f},"tpot_ms":{:.3f},"rows_before_compression":{},"rows_after_compression":{},)"
      R"("freed_bytes":{},"preemptions":{},"finish":"{}"}})",
      s.queue_ms, s.prefill_ms, s.compress_ms, s.decode_ms, s.ttft_ms, s.tpot_ms, s.rows_before_compression,
      s.rows_after_compression, s.freed_bytes, s.preemptions, finish);
}

std::string whole_response(const ResponseHead& head, std::span<const Choice> choices, const Summary& summary,
                           std::string_view finish) {
  std::string out = head_json(head, head.endpoint == Endpoint::chat ? "chat.completion" : "text_completion");
  out += R"(,"choices":[)";
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) out += ',';
    append_choice(out, head.endpoint, i, choices[i]);
  }
  out += R"(],"usage":)" + usage_json(summary) + R"(,"fastcache":)" + fastcache_json(summary, finish) + '}';
  return out;
}

const char* finish_reason(Finish finish, bool has_tool_calls) {
  if (finish == Finish::stop) return has_tool_calls ? "tool_calls" : "stop";
  return "length";  // max_tokens, the context or the deadline: more would have come
}

}  // namespace fastcache::server
