// SPDX-License-Identifier: Apache-2.0
#include "server/testing/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace fastcache::server::testing {
namespace {

std::map<std::string, std::string> parse_headers(std::string_view head) {
  std::map<std::string, std::string> headers;
  for (size_t at = head.find("\r\n"); at != head.npos && at + 2 < head.size();) {
    const size_t end = head.find("\r\n", at + 2);
    const std::string_view line = head.substr(at + 2, end - at - 2);
    const size_t colon = line.find(": ");
    if (colon != line.npos) {
      std::string name(line.substr(0, colon));
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      headers[name] = line.substr(colon + 2);
    }
    at = end;
  }
  return headers;
}

}  // namespace

RawClient::RawClient(int port, int receive_buffer_bytes)
    : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const timeval patience{20, 0};  // a test that waits for nothing must fail, not hang
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const int on = 1;
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (receive_buffer_bytes > 0) {
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
  }
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (socket_ < 0 || ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error(std::string("cannot connect: ") + std::strerror(errno));
  }
}

RawClient::RawClient(RawClient&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)), received_(std::move(other.received_)) {}

RawClient::~RawClient() { close(); }

bool RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool RawClient::receive() {
  char buffer[16 << 10];
  const ssize_t n = ::recv(socket_, buffer, sizeof buffer, 0);
  if (n > 0) received_.append(buffer, static_cast<size_t>(n));
  return n > 0;
}

std::string RawClient::read_until(std::string_view mark) {
  size_t at;
  while ((at = received_.find(mark)) == received_.npos) {
    if (!receive()) return std::exchange(received_, {});
  }
  std::string out = received_.substr(0, at + mark.size());
  received_.erase(0, out.size());
  return out;
}

std::string RawClient::read_to_end() {
  while (receive()) {
  }
  return std::exchange(received_, {});
}

bool RawClient::ended() {
  char byte;
  const ssize_t n = received_.empty() ? ::recv(socket_, &byte, 1, 0) : 1;
  return n == 0 || (n < 0 && errno == ECONNRESET);
}

RawReply RawClient::read_reply(bool to_head) {
  RawReply reply;
  const std::string head = read_until("\r\n\r\n");
  if (head.size() < 12 || !head.ends_with("\r\n\r\n")) return reply;
  reply.status = std::atoi(head.c_str() + 9);
  reply.headers = parse_headers(head);
  reply.whole = true;
  if (to_head || reply.status < 200 || reply.status == 204) return reply;
  if (reply.headers.contains("content-length")) {
    const size_t length = std::stoul(reply.headers["content-length"]);
    while (received_.size() < length && receive()) {
    }
    reply.whole = received_.size() >= length;
    reply.body = received_.substr(0, length);
    received_.erase(0, reply.body.size());
  } else if (reply.headers.contains("transfer-encoding")) {
    for (size_t size = 1; size != 0 && reply.whole;) {
      const std::string line = read_until("\r\n");
      size = line.ends_with("\r\n") ? std::stoul(line, nullptr, 16) : 0;
      while (received_.size() < size + 2 && receive()) {
      }
      reply.whole = line.ends_with("\r\n") && received_.size() >= size + 2;
      reply.body += received_.substr(0, size);
      received_.erase(0, size + 2);
    }
  } else {
    reply.body = read_to_end();
  }
  return reply;
}

void RawClient::half_close() { ::shutdown(socket_, SHUT_WR); }

void RawClient::reset() {
  const linger now{1, 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

void RawClient::close() {
  if (socket_ >= 0) ::close(std::exchange(socket_, -1));
}

RawReply ask(int port, std::string_view request) {
  RawClient client(port);
  client.send(request);
  return client.read_reply(request.starts_with("HEAD "));
}

}  // namespace fastcache::server::testing
