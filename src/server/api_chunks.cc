// SPDX-License-Identifier: Apache-2.0
// ChunkWriter: the pieces of a stream.
#include <spdlog/fmt/fmt.h>

#include "server/api_response.h"
#include "server/json_text.h"

namespace fastcache::server {
namespace {

// `"name":"text"`, with a comma in front unless it is the first.
void append_member(std::string& out, std::string_view name, std::string_view text) {
  if (out.back() != '{') out += ',';
  out += '"';
  out += name;
  out += "\":";
  append_json_string(out, text);
}

void append_tool_delta(std::string& out, const ChatDelta& delta) {
  if (out.back() != '{') out += ',';
  out += fmt::format(R"("tool_calls":[{{"index":{})", delta.tool_call);
  if (!delta.tool_call_id.empty()) {
    append_member(out, "id", delta.tool_call_id);
    out += R"(,"type":"function")";
  }
  out += R"(,"function":{)";
  if (!delta.tool_name.empty()) append_member(out, "name", delta.tool_name);
  append_member(out, "arguments", delta.tool_arguments);
  out += "}}]";
}

}  // namespace

ChunkWriter::ChunkWriter(const ResponseHead& head, bool has_usage) : chat_(head.endpoint == Endpoint::chat) {
  prefix_ = fmt::format(
      R"(data: {{"id":{},"object":"{}","created":{},"model":{},"system_fingerprint":{},"choices":[)",
      json_string(head.id), chat_ ? "chat.completion.chunk" : "text_completion", head.created,
      json_string(head.model), json_string(head.fingerprint));
  suffix_ = has_usage ? ",\"usage\":null}\n\n" : "}\n\n";
}

void ChunkWriter::begin(std::string& out, int choice) const {
  out += prefix_;
  out += fmt::format(R"({{"index":{},)", choice);
}

void ChunkWriter::end(std::string& out, std::string_view logprobs, std::string_view reason,
                      std::string_view fastcache) const {
  out += R"(,"logprobs":)";
  out += logprobs.empty() ? "null" : logprobs;
  out += R"(,"finish_reason":)";
  if (reason.empty())
    out += "null";
  else
    append_json_string(out, reason);
  out += "}]";
  if (!fastcache.empty()) {
    out += R"(,"fastcache":)";
    out += fastcache;
  }
  out += suffix_;
}

void ChunkWriter::role(std::string& out, int choice) const {
  begin(out, choice);
  out += R"("delta":{"role":"assistant","content":""})";
  end(out, {}, {}, {});
}

void ChunkWriter::delta(std::string& out, int choice, const ChatDelta& delta,
                        std::string_view logprobs) const {
  begin(out, choice);
  out += R"("delta":{)";
  if (!delta.content.empty()) append_member(out, "content", delta.content);
  if (!delta.reasoning.empty()) append_member(out, "reasoning_content", delta.reasoning);
  if (delta.tool_call >= 0) append_tool_delta(out, delta);
  out += '}';
  end(out, logprobs, {}, {});
}

void ChunkWriter::text(std::string& out, int choice, std::string_view text, std::string_view logprobs) const {
  begin(out, choice);
  out += R"("text":)";
  append_json_string(out, text);
  end(out, logprobs, {}, {});
}

void ChunkWriter::finish(std::string& out, int choice, std::string_view reason, std::string_view logprobs,
                         std::string_view fastcache) const {
  begin(out, choice);
  out += chat_ ? R"("delta":{})" : R"("text":"")";
  end(out, logprobs, reason, fastcache);
}

void ChunkWriter::usage(std::string& out, const Summary& summary, std::string_view fastcache) const {
  out += prefix_;
  out += R"(],"usage":)";
  out += usage_json(summary);
  out += R"(,"fastcache":)";
  out += fastcache;
  out += "}\n\n";
}

}  // namespace fastcache::server
