// SPDX-License-Identifier: Apache-2.0
#include "bench/testing/scripted_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <stdexcept>

#include "base/log.h"

namespace fastcache::bench::test_support {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// Calls of a connection, one after the other; what comes behind one is the beginning of the next.
class CallReader {
 public:
  explicit CallReader(int socket) : socket_(socket) {}

  bool next(ReceivedCall& call) {
    size_t end = std::string::npos;
    while ((end = bytes_.find("\r\n\r\n")) == std::string::npos)
      if (!more()) return false;
    read_head(call, bytes_.substr(0, end));
    const auto length = call.headers.find("content-length");
    const size_t body = length == call.headers.end() ? 0 : std::stoul(length->second);
    while (bytes_.size() < end + 4 + body)
      if (!more()) return false;
    call.body = bytes_.substr(end + 4, body);
    bytes_.erase(0, end + 4 + body);
    return true;
  }

 private:
  bool more() {
    std::array<char, 16384> got;
    const ssize_t n = recv(socket_, got.data(), got.size(), 0);
    if (n > 0) bytes_.append(got.data(), static_cast<size_t>(n));
    return n > 0;
  }

  static void read_head(ReceivedCall& call, const std::string& head) {
    const size_t line = head.find("\r\n");
    const size_t space = head.find(' ');
    call.method = head.substr(0, space);
    call.path = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
    call.headers.clear();
    for (size_t at = line; at != std::string::npos;) {
      const size_t next = head.find("\r\n", at + 2);
      const std::string field = head.substr(at + 2, next == std::string::npos ? next : next - at - 2);
      const size_t colon = field.find(": ");
      if (colon != std::string::npos) call.headers[lower(field.substr(0, colon))] = field.substr(colon + 2);
      at = next;
    }
  }

  const int socket_;
  std::string bytes_;
};

}  // namespace

void ScriptedReply::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return hang_up();
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void ScriptedReply::hang_up() {
  shutdown(socket_, SHUT_RDWR);
  hung_up_ = true;
}

void ScriptedReply::begin_stream() {
  send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
}

void ScriptedReply::send_chunk(std::string_view bytes) {
  send(fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes));
}

void ScriptedReply::end_stream() { send("0\r\n\r\n"); }

void ScriptedReply::answer(int status, std::string_view body) {
  send(fmt::format("HTTP/1.1 {} Said\r\nContent-Length: {}\r\n\r\n{}", status, body.size(), body));
}

ScriptedServer::ScriptedServer(Script script) : script_(std::move(script)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 1024) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw std::runtime_error("no port to listen on");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

ScriptedServer::~ScriptedServer() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    for (const int socket : sockets_) shutdown(socket, SHUT_RDWR);
  }
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  close(listener_);
}

std::string ScriptedServer::url() const { return fmt::format("http://127.0.0.1:{}", port_); }

int ScriptedServer::connections() const {
  const std::lock_guard lock(mutex_);
  return connections_;
}

void ScriptedServer::accept_all() {
  while (true) {
    const int socket = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    const std::lock_guard lock(mutex_);
    sockets_.insert(socket);
    ++connections_;
    if (closing_) shutdown(socket, SHUT_RDWR);
    threads_.emplace_back([this, socket] { serve(socket); });
  }
}

void ScriptedServer::serve(int socket) {
  CallReader reader(socket);
  ScriptedReply reply(socket);
  ReceivedCall call;
  while (!reply.hung_up() && reader.next(call)) {
    {
      const std::lock_guard lock(mutex_);
      call.number = calls_++;
    }
    script_(call, reply);
  }
  const std::lock_guard lock(mutex_);
  sockets_.erase(socket);
  close(socket);
}

std::string sse_event(std::string_view json) { return fmt::format("data: {}\n\n", json); }

std::string text_event(std::string_view text) {
  return sse_event(fmt::format(R"({{"choices":[{{"text":"{}","finish_reason":null}}]}})", text));
}

}  // namespace fastcache::bench::test_support
