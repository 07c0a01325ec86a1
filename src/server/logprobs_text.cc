// SPDX-License-Identifier: Apache-2.0
#include "server/logprobs_text.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "model/utf8.h"
#include "server/json_text.h"

namespace fastcache::server {
namespace {

void append_comma(std::string& list) {
  if (!list.empty() && list.back() != '{' && list.back() != '[') list += ',';
}

// Python's and JavaScript's clients count characters: the bytes that begin one.
size_t count_characters(std::string_view bytes) {
  return static_cast<size_t>(std::count_if(
      bytes.begin(), bytes.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// A token that is no whole character still needs a text of its own: it is a key among the alternatives.
std::string completion_token_text(const std::string& bytes) {
  if (!model::find_invalid_utf8(bytes)) return bytes;
  std::string text = "bytes:";
  for (char c : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return text;
}

std::string chat_token_text(const std::string& bytes) {
  model::Utf8Stream stream;
  std::string text = stream.push(bytes);
  return text + stream.flush();
}

// The three members that a token and an alternative have in common, without a closing brace.
void append_chat_token(std::string& out, const std::string& bytes, float logprob) {
  out += R"({"token":)";
  append_json_string(out, chat_token_text(bytes));
  out += R"(,"logprob":)";
  append_json_number(out, logprob);
  out += R"(,"bytes":[)";
  for (char c : bytes) {
    append_comma(out);
    out += fmt::format_int(static_cast<unsigned char>(c)).c_str();
  }
  out += ']';
}

}  // namespace

LogprobsText::LogprobsText(Endpoint endpoint, int n_top, TokenBytes token_bytes, size_t offset)
    : endpoint_(endpoint), n_top_(n_top), token_bytes_(std::move(token_bytes)), offset_(offset) {}

void LogprobsText::add(std::span<const TokenInfo> tokens) {
  for (const TokenInfo& token : tokens) endpoint_ == Endpoint::chat ? add_chat(token) : add_completion(token);
}

void LogprobsText::add_chat(const TokenInfo& token) {
  append_comma(tokens_);
  append_chat_token(tokens_, token_bytes_(token.id), token.logprob);
  tokens_ += R"(,"top_logprobs":[)";
  for (const auto& [id, logprob] : token.top) {
    append_comma(tokens_);
    append_chat_token(tokens_, token_bytes_(id), logprob);
    tokens_ += '}';
  }
  tokens_ += "]}";
}

void LogprobsText::add_completion(const TokenInfo& token) {
  const std::string bytes = token_bytes_(token.id);
  append_comma(tokens_);
  append_json_string(tokens_, completion_token_text(bytes));
  append_comma(logprobs_);
  append_json_number(logprobs_, token.logprob);
  append_comma(offsets_);
  offsets_ += fmt::format_int(offset_).c_str();
  offset_ += count_characters(bytes);
  if (n_top_ == 0) return;
  const auto append_entry = [&](int32_t id, float logprob) {
    append_comma(top_);
    append_json_string(top_, completion_token_text(token_bytes_(id)));
    top_ += ':';
    append_json_number(top_, logprob);
  };
  append_comma(top_);
  top_ += '{';
  bool has_chosen = false;
  for (const auto& [id, logprob] : token.top) {
    append_entry(id, logprob);
    has_chosen = has_chosen || id == token.id;
  }
  if (!has_chosen) append_entry(token.id, token.logprob);
  top_ += '}';
}

std::string LogprobsText::take() {
  if (empty()) return "";
  std::string json;
  if (endpoint_ == Endpoint::chat) {
    json = fmt::format(R"({{"content":[{}]}})", tokens_);
  } else {
    json = fmt::format(R"({{"tokens":[{}],"token_logprobs":[{}],"top_logprobs":{},"text_offset":[{}]}})",
                       tokens_, logprobs_, n_top_ == 0 ? "null" : '[' + top_ + ']', offsets_);
  }
  for (std::string* list : {&tokens_, &logprobs_, &top_, &offsets_}) list->clear();
  return json;
}

}  // namespace fastcache::server
