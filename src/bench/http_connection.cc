// SPDX-License-Identifier: Apache-2.0
#include "bench/http_connection.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::bench {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using boost::system::system_error;

constexpr size_t kMostErrorBytes = size_t{64} << 10;

std::string sentence(const error_code& error, double timeout_s) {
  if (error == beast::error::timeout) return fmt::format("the server said nothing for {} s", timeout_s);
  if (error == http::error::end_of_stream) return "the server closed the connection without an answer";
  if (error == http::error::partial_message) return "the server closed the connection in mid-answer";
  if (error.category() == asio::error::get_system_category()) return error.message();
  return fmt::format("the answer is no HTTP: {}", error.message());
}

std::chrono::nanoseconds nanoseconds(double seconds) {
  return std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9));
}

}  // namespace

asio::ip::tcp::resolver::results_type resolve(asio::io_context& io, const LoadUrl& url) {
  error_code error;
  auto addresses = asio::ip::tcp::resolver(io).resolve(url.host, url.port, error);
  if (error)
    throw Error{Code::io, fmt::format("the address of '{}' is not found: {}", url.host, error.message())};
  return addresses;
}

asio::awaitable<HttpOutcome> HttpConnection::call(const HttpCall& call, const BodySink& on_body) {
  HttpOutcome outcome;
  const bool again = co_await attempt(call, on_body, outcome);
  if (again) {
    outcome = {};
    co_await attempt(call, on_body, outcome);
  }
  co_return outcome;
}

asio::awaitable<bool> HttpConnection::attempt(const HttpCall& call, const BodySink& on_body,
                                              HttpOutcome& outcome) {
  const bool kept = open_;
  try {
    if (!open_) co_await connect(call);
    co_await send(call);
    co_return co_await receive(call, on_body, outcome) && kept;
  } catch (const system_error& error) {
    outcome.error = sentence(error.code(), call.timeout_s);
    close();
    const bool lost =
        error.code() == asio::error::broken_pipe || error.code() == asio::error::connection_reset;
    co_return kept&& lost&& outcome.status == 0;
  }
}

asio::awaitable<void> HttpConnection::connect(const HttpCall& call) {
  buffer_.clear();
  ++connects_;
  stream_.expires_after(nanoseconds(call.timeout_s));
  co_await stream_.async_connect(addresses_, asio::use_awaitable);
  stream_.socket().set_option(asio::ip::tcp::no_delay(true));
  open_ = true;
}

asio::awaitable<void> HttpConnection::send(const HttpCall& call) {
  // A view of the body: thousands of long prompts are not copied while the clock runs.
  http::request<http::span_body<const char>> request;
  request.version(11);
  request.method(call.body == nullptr ? http::verb::get : http::verb::post);
  request.target(call.url->base_path + call.path);
  request.set(http::field::host, call.url->authority);
  request.set(http::field::user_agent, "fastcache-bench/" FASTCACHE_VERSION);
  if (!call.api_key.empty()) request.set(http::field::authorization, "Bearer " + call.api_key);
  if (call.body != nullptr) {
    request.set(http::field::content_type, "application/json");
    request.body() = beast::span<const char>(call.body->data(), call.body->size());
    request.content_length(call.body->size());
  }
  stream_.expires_after(nanoseconds(call.timeout_s));
  co_await http::async_write(stream_, request, asio::use_awaitable);
}

asio::awaitable<bool> HttpConnection::receive(const HttpCall& call, const BodySink& on_body,
                                              HttpOutcome& outcome) {
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  error_code error;
  stream_.expires_after(nanoseconds(call.timeout_s));
  co_await http::async_read_header(stream_, buffer_, parser,
                                   asio::redirect_error(asio::use_awaitable, error));
  if (error == http::error::end_of_stream) {
    outcome.error = sentence(error, call.timeout_s);
    close();
    co_return true;
  }
  if (error) throw system_error(error);
  outcome.status = parser.get().result_int();
  while (!parser.is_done()) {
    parser.get().body().data = bytes_.data();
    parser.get().body().size = bytes_.size();
    stream_.expires_after(nanoseconds(call.timeout_s));
    co_await http::async_read_some(stream_, buffer_, parser,
                                   asio::redirect_error(asio::use_awaitable, error));
    const std::string_view got(bytes_.data(), bytes_.size() - parser.get().body().size);
    if (outcome.status == 200) {
      if (!got.empty()) on_body(got);
    } else {
      outcome.body += got.substr(0, kMostErrorBytes - std::min(kMostErrorBytes, outcome.body.size()));
    }
    if (error && error != http::error::need_buffer) throw system_error(error);
  }
  if (!parser.keep_alive()) close();
  co_return false;
}

void HttpConnection::close() {
  stream_.close();
  open_ = false;
}

}  // namespace fastcache::bench
