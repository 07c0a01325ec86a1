// SPDX-License-Identifier: Apache-2.0
// The fields of a completion request, one row each; api_request.cc walks them.
#pragma once

#include <optional>
#include <span>

#include "server/api_request.h"
#include "server/json_field.h"

namespace fastcache::server {

// A call while its fields are read: what has no meaning before all are known.
struct CallDraft {
  CompletionCall call = {};
  std::optional<int> max_completion_tokens = {};
  std::optional<int> best_of = {};
  std::optional<bool> chat_logprobs = {};
  std::optional<int> top_logprobs = {};
  std::optional<double> timeout_ms = {};
  std::vector<std::string> tool_names = {};
  std::optional<std::string> tool_choice_path = {};  // where a function was named
  bool has_stream_options = false;
  bool has_response_format = false;
};

enum class FieldOf { both, chat, completions };

struct FieldRow {
  const char* name;
  FieldOf where;
  void (*read)(const JsonField& field, CallDraft& draft);
};

std::span<const FieldRow> sampling_fields();  // api_fields.cc
std::span<const FieldRow> call_fields();      // api_fields.cc
std::span<const FieldRow> chat_fields();      // api_chat_fields.cc
std::span<const FieldRow> refused_fields();   // api_fields.cc: known, but this server cannot obey

// JSON schema of a response_format; "" for text, "{}" for any object.
std::string read_response_format(const JsonField& field);

}  // namespace fastcache::server
