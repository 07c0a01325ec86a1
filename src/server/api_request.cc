// SPDX-License-Identifier: Apache-2.0
#include "server/api_request.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "server/api_fields.h"

namespace fastcache::server {
namespace {

constexpr int kMostChoices = 256;
constexpr int kCompletionTokens = 16;  // where nothing is said, as in OpenAI's API

bool concerns(const FieldRow& row, Endpoint endpoint) {
  return row.where == FieldOf::both || (row.where == FieldOf::chat) == (endpoint == Endpoint::chat);
}

template <class What>
void each_row(Endpoint endpoint, const What& what) {
  for (const auto& rows : {call_fields(), chat_fields(), sampling_fields(), refused_fields()}) {
    for (const FieldRow& row : rows)
      if (concerns(row, endpoint)) what(row);
  }
}

[[noreturn]] void refuse(const char* param, const std::string& sentence) {
  throw ApiError{Code::bad_request, sentence, param};
}

CallDraft begin(Endpoint endpoint, const ApiDefaults& defaults) {
  CallDraft draft;
  draft.call.endpoint = endpoint;
  draft.call.request.sampling = defaults.sampling;
  draft.call.request.compression = defaults.compression;
  draft.call.request.max_tokens = defaults.max_tokens;
  if (defaults.max_tokens == 0 && endpoint == Endpoint::completions)
    draft.call.request.max_tokens = kCompletionTokens;
  return draft;
}

void finish_chat(CallDraft& draft) {
  CompletionCall& call = draft.call;
  if (call.chat.messages.empty()) refuse("messages", "messages is missing; it must be an array of messages");
  if (draft.max_completion_tokens) call.request.max_tokens = *draft.max_completion_tokens;
  if (draft.top_logprobs.value_or(0) > 0 && !draft.chat_logprobs.value_or(false))
    refuse("top_logprobs", "top_logprobs is given without logprobs; logprobs must be true");
  if (draft.chat_logprobs.value_or(false)) call.request.sampling.logprobs = draft.top_logprobs.value_or(0);
  const bool has_tools = !call.chat.tools.empty();
  if (!has_tools && call.chat.tool_choice == "required")
    refuse("tool_choice", "tool_choice is \"required\", but there are no tools");
  if (draft.tool_choice_path && std::find(draft.tool_names.begin(), draft.tool_names.end(),
                                          call.chat.tool_choice) == draft.tool_names.end()) {
    refuse(draft.tool_choice_path->c_str(),
           fmt::format("{} is not the name of one of the tools", *draft.tool_choice_path));
  }
  if (!has_tools) call.chat.tool_choice = "auto";
  if (has_tools && draft.has_response_format)
    refuse("response_format", "response_format and tools are both given; only one of them can be obeyed");
}

void finish_completions(CallDraft& draft) {
  CompletionCall& call = draft.call;
  if (call.prompts.empty())
    refuse("prompt", "prompt is missing; it must be a string, strings, token ids or arrays of those");
  if (draft.best_of && *draft.best_of != call.request.n) {
    throw ApiError{Code::unsupported,
                   fmt::format("best_of is {} and n is {}; answers are not ranked, so they must be equal",
                               *draft.best_of, call.request.n),
                   "best_of"};
  }
  if (call.echo && call.request.sampling.logprobs >= 0) {
    throw ApiError{Code::unsupported, "echo with logprobs is not supported: prompts have none", "echo"};
  }
  const size_t n_choices = call.prompts.size() * static_cast<size_t>(call.request.n);
  if (n_choices > kMostChoices) {
    refuse("n", fmt::format("n is {} for {} prompts; a request may have at most {} choices", call.request.n,
                            call.prompts.size(), kMostChoices));
  }
}

void finish(CallDraft& draft) {
  CompletionCall& call = draft.call;
  if (draft.has_stream_options && !call.stream)
    refuse("stream_options", "stream_options is given without stream; stream must be true");
  if (draft.timeout_ms) call.request.deadline_ms = std::min(call.request.deadline_ms, *draft.timeout_ms);
  if (draft.has_response_format && !call.request.sampling.grammar.empty())
    refuse("grammar", "grammar and response_format are both given; only one of them can be obeyed");
  if (call.endpoint == Endpoint::chat)
    finish_chat(draft);
  else
    finish_completions(draft);
  if (!call.request.sampling.grammar.empty() && !call.chat.tools.empty())
    refuse("grammar", "grammar and tools are both given; only one of them can be obeyed");
}

}  // namespace

CompletionCall parse_completion_call(Endpoint endpoint, std::string_view body, const ApiDefaults& defaults) {
  const Json json = parse_json_object(body);
  const JsonField root(json, "");
  CallDraft draft = begin(endpoint, defaults);
  each_row(endpoint, [&](const FieldRow& row) {
    if (const auto field = root.find(row.name)) row.read(*field, draft);
  });
  finish(draft);
  return std::move(draft.call);
}

std::vector<std::string> known_fields(Endpoint endpoint) {
  std::vector<std::string> names;
  each_row(endpoint, [&](const FieldRow& row) { names.emplace_back(row.name); });
  return names;
}

}  // namespace fastcache::server
