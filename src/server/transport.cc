// SPDX-License-Identifier: Apache-2.0
#include "server/transport.h"

#include <sys/socket.h>

#include <cerrno>

namespace fastcache::server {
namespace {

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(int socket) : socket_(socket) {}

  Io handshake() override { return Io::done; }

  Transferred read(std::span<char> into) override {
    const ssize_t n = ::recv(socket_, into.data(), into.size(), MSG_DONTWAIT);
    if (n > 0) return {Io::done, static_cast<size_t>(n)};
    return {n == 0 ? Io::closed : why(Io::wants_read), 0};
  }

  Transferred write(std::string_view bytes) override {
    const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) return {Io::done, static_cast<size_t>(n)};
    return {why(Io::wants_write), 0};
  }

  void say_goodbye() override {}

 private:
  static Io why(Io would_block) {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? would_block : Io::failed;
  }

  const int socket_;
};

}  // namespace

std::unique_ptr<Transport> make_plain_transport(int socket) {
  return std::make_unique<PlainTransport>(socket);
}

}  // namespace fastcache::server
