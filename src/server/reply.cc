// SPDX-License-Identifier: Apache-2.0
#include "server/reply.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <ctime>

namespace fastcache::server {
namespace {

namespace asio = boost::asio;

// A line end in a value would begin a header of the client's making.
void append_header(std::string& head, std::string_view name, std::string_view value) {
  const auto is_control = [](char c) { return (c >= 0 && c < ' ' && c != '\t') || c == 127; };
  head.append(name).append(": ");
  std::replace_copy_if(value.begin(), value.end(), std::back_inserter(head), is_control, ' ');
  head.append("\r\n");
}

bool may_have_body(int status) { return status >= 200 && status != 204 && status != 304; }

}  // namespace

std::string Reply::head(int status, std::string_view content_type, const Headers& headers) const {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", status, status_text(status));
  append_header(head, "Date", fmt::format("{:%a, %d %b %Y %H:%M:%S GMT}", fmt::gmtime(std::time(nullptr))));
  if (!manner.request_id.empty()) append_header(head, "X-Request-Id", manner.request_id);
  if (!content_type.empty()) append_header(head, "Content-Type", content_type);
  for (const auto& [name, value] : manner.headers) append_header(head, name, value);
  for (const auto& [name, value] : headers) append_header(head, name, value);
  if (!manner.keep_alive) append_header(head, "Connection", "close");
  if (manner.keep_alive && !manner.http_1_1) append_header(head, "Connection", "keep-alive");
  return head;
}

// What begins while the server drains is the last on its connection.
void Reply::set_keep_alive() {
  if (server_.draining) manner.keep_alive = false;
}

asio::awaitable<void> Reply::send(int status, std::string_view content_type, std::string body,
                                  Headers headers) {
  assert(!has_begun());
  set_keep_alive();
  std::string message = head(status, content_type, headers);
  if (may_have_body(status)) append_header(message, "Content-Length", std::to_string(body.size()));
  message += "\r\n";
  status_ = status;
  if (may_have_body(status) && !manner.without_body) {
    message += body;
    body_bytes_ = body.size();
  }
  std::string().swap(body);  // while a slow client reads, one copy is enough
  co_await wire_.write(message);
  whole_ = true;
}

asio::awaitable<void> Reply::begin_stream(std::string_view content_type, Headers headers) {
  assert(!has_begun());
  if (wire_.gone()) throw ClientGone{};
  set_keep_alive();
  chunked_ = manner.http_1_1;
  if (!chunked_) manner.keep_alive = false;  // the end of the connection is the end of the body
  std::string message = head(200, content_type, headers);
  if (chunked_) append_header(message, "Transfer-Encoding", "chunked");
  message += "\r\n";
  status_ = 200;
  co_await wire_.write(message);
}

asio::awaitable<void> Reply::write(std::string bytes) {
  assert(has_begun() && !whole_);
  if (wire_.gone()) throw ClientGone{};
  if (bytes.empty() || manner.without_body) co_return;  // an empty chunk would be the last
  body_bytes_ += bytes.size();
  const std::string message =
      chunked_ ? fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes) : std::move(bytes);
  co_await wire_.write(message);
}

asio::awaitable<void> Reply::end_stream() {
  assert(has_begun() && !whole_);
  if (chunked_ && !manner.without_body) co_await wire_.write("0\r\n\r\n");
  whole_ = true;
}

asio::awaitable<void> Reply::send_fault(const HttpFault& fault) {
  std::string body = to_json(error_body(fault));
  co_await send(fault.status, "application/json", std::move(body), fault.headers);
}

}  // namespace fastcache::server
