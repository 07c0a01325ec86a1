// SPDX-License-Identifier: Apache-2.0
// One request and its answer.
#pragma once

#include <chrono>
#include <string>

#include "server/reply.h"
#include "server/request_parser.h"
#include "server/server_state.h"

namespace fastcache::server {

class Exchange {
 public:
  Exchange(Wire& wire, ServerState& server);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Receives, answers, logs, counts. True: the connection can carry another request.
  boost::asio::awaitable<bool> run();

 private:
  boost::asio::awaitable<void> answer();
  boost::asio::awaitable<void> receive_head();
  void take_head();
  const Route* check();  // null: OPTIONS; throws HttpFault
  void check_page() const;
  boost::asio::awaitable<void> receive_body();
  boost::asio::awaitable<void> handle(const Route& route);
  boost::asio::awaitable<void> refuse(const HttpFault& fault);
  boost::asio::awaitable<void> send_fault(const HttpFault& fault);
  boost::asio::awaitable<void> answer_options();
  boost::asio::awaitable<void> need_more(const char* what);
  void count_body();
  std::string header(const char* name) const;
  void account() const;

  Wire& wire_;
  ServerState& server_;
  RequestParser parser_;
  HttpRequest request_;
  Reply reply_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  size_t counted_body_bytes_ = 0;
  bool has_head_ = false;
  bool has_body_ = false;  // it was received
};

}  // namespace fastcache::server
