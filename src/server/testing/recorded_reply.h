// SPDX-License-Identifier: Apache-2.0
// A reply without a socket: keeps what a handler sent. Owner: the thread of its io_context.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http.h"

namespace fastcache::server::test_support {

class RecordedReply final : public HttpReply {
 public:
  explicit RecordedReply(boost::asio::io_context& context) : gate_(context) {}

  boost::asio::awaitable<void> send(int status_sent, std::string_view type, std::string sent,
                                    Headers fields) override {
    status = status_sent;
    content_type = type;
    body = std::move(sent);
    headers = std::move(fields);
    co_return;
  }
  boost::asio::awaitable<void> begin_stream(std::string_view type, Headers fields) override {
    status = 200;
    content_type = type;
    headers = std::move(fields);
    co_return;
  }
  boost::asio::awaitable<void> write(std::string bytes) override {
    while (reads_nothing && !is_gone) {
      gate_.expires_at(std::chrono::steady_clock::time_point::max());
      boost::system::error_code ignored;
      co_await gate_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    }
    if (is_gone) throw ClientGone{};
    written.push_back(std::move(bytes));
  }
  boost::asio::awaitable<void> end_stream() override {
    has_ended = true;
    co_return;
  }
  bool has_begun() const override { return status != 0; }
  void on_client_gone(std::function<void()> what) override {
    when_gone_ = std::move(what);
    if (is_gone) tell();
  }

  void leave() {
    is_gone = true;
    tell();
    gate_.cancel();
  }
  void read_on() {
    reads_nothing = false;
    gate_.cancel();
  }

  std::string header(std::string_view name) const {
    for (const auto& [field, value] : headers)
      if (field == name) return value;
    return {};
  }

  int status = 0;
  std::string content_type, body;
  Headers headers;
  std::vector<std::string> written;
  bool has_ended = false;
  bool reads_nothing = false;  // a client that is there, but takes no bytes
  bool is_gone = false;
  bool is_answered = false;         // the handler has returned
  std::exception_ptr failure = {};  // what left it

 private:
  void tell() {
    if (auto what = std::exchange(when_gone_, {})) what();
  }

  boost::asio::steady_timer gate_;
  std::function<void()> when_gone_;
};

// Starts a handler's answer; it goes on as the context runs.
inline void begin_answer(boost::asio::io_context& context, RecordedReply& reply,
                         boost::asio::awaitable<void> answer) {
  boost::asio::co_spawn(context, std::move(answer), [&reply](std::exception_ptr failure) {
    reply.is_answered = true;
    reply.failure = std::move(failure);
  });
}

}  // namespace fastcache::server::test_support
