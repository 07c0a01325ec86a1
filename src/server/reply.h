// SPDX-License-Identifier: Apache-2.0
// The answer to one request, on its wire.
#pragma once

#include <string>

#include "server/http_error.h"
#include "server/server_state.h"

namespace fastcache::server {

// What the request asks of its answer, as far as it is known.
struct ReplyManner {
  bool http_1_1 = true;
  bool keep_alive = false;
  bool without_body = false;  // HEAD
  std::string request_id;
  Headers headers;  // of every answer: CORS
};

class Reply final : public HttpReply {
 public:
  Reply(Wire& wire, const ServerState& server) : wire_(wire), server_(server) {}
  ReplyManner manner;  // until the first byte is sent

  boost::asio::awaitable<void> send(int status, std::string_view content_type, std::string body,
                                    Headers headers) override;
  boost::asio::awaitable<void> begin_stream(std::string_view content_type, Headers headers) override;
  boost::asio::awaitable<void> write(std::string bytes) override;
  boost::asio::awaitable<void> end_stream() override;
  bool has_begun() const override { return status_ != 0; }
  void on_client_gone(std::function<void()> what) override { wire_.on_gone(std::move(what)); }

  boost::asio::awaitable<void> send_fault(const HttpFault& fault);

  int status() const { return status_; }    // 0: nothing was sent
  bool is_whole() const { return whole_; }  // else the connection cannot go on
  bool keeps_connection() const { return whole_ && manner.keep_alive; }
  uint64_t body_bytes() const { return body_bytes_; }

 private:
  void set_keep_alive();
  std::string head(int status, std::string_view content_type, const Headers& headers) const;

  Wire& wire_;
  const ServerState& server_;
  int status_ = 0;
  bool whole_ = false;
  bool chunked_ = false;
  uint64_t body_bytes_ = 0;
};

}  // namespace fastcache::server
