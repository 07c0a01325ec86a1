// SPDX-License-Identifier: Apache-2.0
// Logprobs of one choice as JSON, in the form of either endpoint, token by token. Owner: one thread.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "fastcache/request.h"
#include "server/api_request.h"

namespace fastcache::server {

using TokenBytes = std::function<std::string(int32_t token)>;

class LogprobsText {
 public:
  // n_top: how many alternatives were asked for. offset: characters in front of the choice's first token.
  LogprobsText(Endpoint endpoint, int n_top, TokenBytes token_bytes, size_t offset = 0);

  void add(std::span<const TokenInfo> tokens);
  bool empty() const { return tokens_.empty(); }
  // Of the tokens since the last call; "" if there are none.
  std::string take();

 private:
  void add_chat(const TokenInfo& token);
  void add_completion(const TokenInfo& token);

  Endpoint endpoint_;
  int n_top_;
  TokenBytes token_bytes_;
  size_t offset_;
  std::string tokens_, logprobs_, top_, offsets_;  // insides of JSON arrays; a chat has the first alone
};

}  // namespace fastcache::server
