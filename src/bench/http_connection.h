// SPDX-License-Identifier: Apache-2.0
// The client's side of HTTP/1.1: one connection that is kept alive between calls, bodies as they come.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/load_url.h"

namespace fastcache::bench {

struct HttpCall {
  const LoadUrl* url = nullptr;
  std::string path;                   // behind the URL's own
  const std::string* body = nullptr;  // JSON; null: GET
  std::string api_key;                // empty: none is sent
  double timeout_s = 600;             // without a byte
};

struct HttpOutcome {
  int status = 0;     // 0: no answer came
  std::string error;  // empty: the whole answer came; else why not, in a sentence
  std::string body;   // of every status but 200: its beginning
};

using BodySink = std::function<void(std::string_view)>;

// The addresses of the URL's host. Blocks. Throws Error (io).
boost::asio::ip::tcp::resolver::results_type resolve(boost::asio::io_context& io, const LoadUrl& url);

// One call at a time, on the io_context's thread.
class HttpConnection {
 public:
  // connects: counts up with each connection made; must outlive this.
  HttpConnection(boost::asio::io_context& io, boost::asio::ip::tcp::resolver::results_type addresses,
                 int& connects)
      : stream_(io), addresses_(std::move(addresses)), bytes_(size_t{64} << 10), connects_(connects) {}

  // Connects first where there is no connection. A server may have closed a kept one: then the call goes out
  // once more on a new one. on_body gets the body of status 200. What goes wrong is the outcome's error.
  boost::asio::awaitable<HttpOutcome> call(const HttpCall& call, const BodySink& on_body);

  bool is_open() const { return open_; }  // kept for another call

 private:
  boost::asio::awaitable<void> connect(const HttpCall& call);
  boost::asio::awaitable<void> send(const HttpCall& call);
  // True: the server had closed the kept connection before it saw the call.
  boost::asio::awaitable<bool> receive(const HttpCall& call, const BodySink& on_body, HttpOutcome& outcome);
  boost::asio::awaitable<bool> attempt(const HttpCall& call, const BodySink& on_body, HttpOutcome& outcome);
  void close();

  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer buffer_;
  boost::asio::ip::tcp::resolver::results_type addresses_;
  std::vector<char> bytes_;  // of the body, read at once
  int& connects_;
  bool open_ = false;
};

}  // namespace fastcache::bench
