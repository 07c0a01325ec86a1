// SPDX-License-Identifier: Apache-2.0
#include "server/api_fields.h"

#include <spdlog/fmt/fmt.h>

#include <charconv>

#include "server/kv_compression.h"

namespace fastcache::server {
namespace {

using F = const JsonField&;

constexpr int kMostInt = std::numeric_limits<int>::max();
constexpr double kMostDeadlineMs = 1e12;
constexpr size_t kMostSaltBytes = 1024;

float real(F field, double least, double most) { return static_cast<float>(field.number(least, most)); }

std::vector<LogitBias> read_logit_bias(F field) {
  field.must_be_object("an object of token ids and numbers from -100 to 100");
  std::vector<LogitBias> biases;
  for (const auto& [key, value] : field.json().items()) {
    LogitBias bias;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), bias.token);
    if (error != std::errc{} || end != key.data() + key.size() || bias.token < 0)
      field.refuse(
          fmt::format("{} has the key {}; its keys must be token ids", field.path(), Json(key).dump()));
    bias.bias = real(JsonField(value, field.path_of(key)), -100, 100);
    biases.push_back(bias);
  }
  return biases;
}

std::vector<std::string> read_stop(F field) {
  constexpr const char* kRight = "a string or an array of at most 16 strings";
  if (field.is_string()) return {field.string()};
  const std::vector<JsonField> items = field.items(kRight);
  if (items.size() > 16)
    field.refuse(fmt::format("{} has {} strings; it may have at most 16", field.path(), items.size()));
  std::vector<std::string> stop;
  for (F item : items) stop.push_back(item.string());
  return stop;
}

// A string, strings, tokens, or arrays of tokens.
std::vector<Prompt> read_prompts(F field) {
  constexpr const char* kRight = "a string, an array of strings, an array of token ids or an array of those";
  const auto text = [](F prompt) {
    if (prompt.string("a string or an array of token ids").empty())
      prompt.refuse(fmt::format("{} is empty; it must have at least one character", prompt.path()));
    return Prompt{.text = prompt.string()};
  };
  if (field.is_string()) return {text(field)};
  if (!field.is_array() || field.json().empty()) field.must_be(kRight);
  if (field.json()[0].is_number()) return {Prompt{.tokens = read_token_ids(field)}};
  if (field.json().size() > kMaxPrompts) {
    field.refuse(fmt::format("{} has {} prompts; it may have at most {}", field.path(), field.json().size(),
                             kMaxPrompts));
  }
  std::vector<Prompt> prompts;
  for (F item : field.items()) {
    if (item.is_array() && !item.json().empty())
      prompts.push_back({.tokens = read_token_ids(item)});
    else
      prompts.push_back(text(item));
  }
  return prompts;
}

constexpr FieldRow kSampling[] = {
    {"temperature", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.sampling.temperature = real(f, 0, 100); }},
    {"top_p", FieldOf::both, [](F f, CallDraft& d) { d.call.request.sampling.top_p = real(f, 0, 1); }},
    {"min_p", FieldOf::both, [](F f, CallDraft& d) { d.call.request.sampling.min_p = real(f, 0, 1); }},
    // -1 is vLLM's "off".
    {"top_k", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.sampling.top_k = std::max(0, f.whole(-1, kMostInt)); }},
    {"seed", FieldOf::both,
     [](F f, CallDraft& d) {
       constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
       d.call.request.sampling.seed = static_cast<uint64_t>(f.integer(-kMost - 1, kMost));
       d.call.has_seed = true;
     }},
    {"repetition_penalty", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.sampling.repetition_penalty = real(f, 0.01, 10); }},
    {"presence_penalty", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.sampling.presence_penalty = real(f, -2, 2); }},
    {"frequency_penalty", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.sampling.frequency_penalty = real(f, -2, 2); }},
    {"logit_bias", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.sampling.logit_bias = read_logit_bias(f); }},
    {"ignore_eos", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.sampling.ignore_eos = f.boolean(); }},
    {"min_tokens", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.sampling.min_tokens = f.whole(0, kMostInt); }},
    {"grammar", FieldOf::both, [](F f, CallDraft& d) { d.call.request.sampling.grammar = f.string(); }},
    {"logprobs", FieldOf::completions,
     [](F f, CallDraft& d) { d.call.request.sampling.logprobs = f.whole(0, 20); }},
    {"logprobs", FieldOf::chat, [](F f, CallDraft& d) { d.chat_logprobs = f.boolean(); }},
    {"top_logprobs", FieldOf::chat, [](F f, CallDraft& d) { d.top_logprobs = f.whole(0, 20); }},
};

constexpr FieldRow kCall[] = {
    {"model", FieldOf::both, [](F f, CallDraft& d) { d.call.model = f.string(); }},
    {"prompt", FieldOf::completions, [](F f, CallDraft& d) { d.call.prompts = read_prompts(f); }},
    {"max_tokens", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.max_tokens = f.whole(1, kMostInt); }},
    {"max_completion_tokens", FieldOf::chat,
     [](F f, CallDraft& d) { d.max_completion_tokens = f.whole(1, kMostInt); }},
    {"n", FieldOf::both, [](F f, CallDraft& d) { d.call.request.n = f.whole(1, 64); }},
    {"best_of", FieldOf::completions, [](F f, CallDraft& d) { d.best_of = f.whole(1, 64); }},
    {"echo", FieldOf::completions, [](F f, CallDraft& d) { d.call.echo = f.boolean(); }},
    {"stop", FieldOf::both, [](F f, CallDraft& d) { d.call.request.stop = read_stop(f); }},
    {"stream", FieldOf::both, [](F f, CallDraft& d) { d.call.stream = f.boolean(); }},
    {"stream_options", FieldOf::both,
     [](F f, CallDraft& d) {
       d.has_stream_options = true;
       if (const auto usage = f.find("include_usage")) d.call.include_usage = usage->boolean();
     }},
    {"response_format", FieldOf::both,
     [](F f, CallDraft& d) {
       const std::string schema = read_response_format(f);
       d.has_response_format = !schema.empty();
       if (d.call.endpoint == Endpoint::chat)
         d.call.chat.json_schema = schema;
       else
         d.call.request.sampling.json_schema = schema == "{}" ? R"({"type":"object"})" : schema;
     }},
    {"user", FieldOf::both, [](F f, CallDraft&) { f.string(); }},
    {"kv_compression", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.compression = read_compression(f); }},
    {"cache_salt", FieldOf::both,
     [](F f, CallDraft& d) {
       d.call.request.tenant = f.string();
       if (f.string().empty() || f.string().size() > kMostSaltBytes)
         f.refuse(fmt::format("{} has {} bytes; it must have 1 to {}", f.path(), f.string().size(),
                              kMostSaltBytes));
     }},
    {"priority", FieldOf::both, [](F f, CallDraft& d) { d.call.request.priority = f.whole(-1000, 1000); }},
    {"deadline_ms", FieldOf::both,
     [](F f, CallDraft& d) { d.call.request.deadline_ms = f.number(1, kMostDeadlineMs); }},
    {"timeout", FieldOf::both,
     [](F f, CallDraft& d) { d.timeout_ms = 1000 * f.number(0.001, kMostDeadlineMs / 1000); }},
};

[[noreturn]] void unsupported(F field, std::string_view why) {
  throw ApiError{Code::unsupported,
                 fmt::format("{} is not supported{}{}", field.path(), why.empty() ? "" : ": ", why),
                 field.path()};
}

// What means the same as leaving the field out is let through.
constexpr FieldRow kRefused[] = {
    {"suffix", FieldOf::completions,
     [](F f, CallDraft&) {
       if (!f.string().empty()) unsupported(f, "text is only continued at its end");
     }},
    {"audio", FieldOf::chat, [](F f, CallDraft&) { unsupported(f, "answers are text"); }},
    {"modalities", FieldOf::chat,
     [](F f, CallDraft&) {
       for (F item : f.items("[\"text\"]"))
         if (item.string() != "text") unsupported(item, "answers are text");
     }},
    {"functions", FieldOf::chat, [](F f, CallDraft&) { unsupported(f, "use tools"); }},
    {"function_call", FieldOf::chat, [](F f, CallDraft&) { unsupported(f, "use tool_choice"); }},
    {"web_search_options", FieldOf::chat, [](F f, CallDraft&) { unsupported(f, ""); }},
    {"prompt_logprobs", FieldOf::both, [](F f, CallDraft&) { unsupported(f, "use logprobs"); }},
    {"use_beam_search", FieldOf::both,
     [](F f, CallDraft&) {
       if (f.boolean()) unsupported(f, "use n");
     }},
    {"guided_json", FieldOf::both, [](F f, CallDraft&) { unsupported(f, "use response_format"); }},
    {"guided_regex", FieldOf::both, [](F f, CallDraft&) { unsupported(f, "use grammar"); }},
    {"guided_choice", FieldOf::both, [](F f, CallDraft&) { unsupported(f, "use grammar"); }},
    {"guided_grammar", FieldOf::both, [](F f, CallDraft&) { unsupported(f, "use grammar"); }},
    {"structured_outputs", FieldOf::both, [](F f, CallDraft&) { unsupported(f, "use response_format"); }},
};

}  // namespace

std::span<const FieldRow> sampling_fields() { return kSampling; }
std::span<const FieldRow> call_fields() { return kCall; }
std::span<const FieldRow> refused_fields() { return kRefused; }

std::string read_response_format(const JsonField& field) {
  constexpr const char* kRight = R"("text", "json_object" or "json_schema")";
  field.must_be_object(R"(an object like {"type": "json_object"})");
  const JsonField type = field.need("type", kRight);
  const std::string& name = type.string(kRight);
  if (name == "text") return "";
  if (name == "json_object") return "{}";
  if (name != "json_schema")
    type.refuse(fmt::format("{} is {}; it must be {}", type.path(), Json(name).dump(), kRight));
  const JsonField inner = field.need("json_schema", R"(an object with "name" and "schema")");
  const JsonField schema = inner.need("schema", "a JSON schema");
  schema.must_be_object("a JSON schema, which is an object");
  return schema.json().dump();
}

}  // namespace fastcache::server
