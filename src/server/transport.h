// SPDX-License-Identifier: Apache-2.0
// Bytes over a non-blocking socket, in the clear or under TLS (tls.h). Never waits: says what to wait for.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace fastcache::server {

enum class Io { done, wants_read, wants_write, closed, failed };

struct Transferred {
  Io io = Io::done;
  size_t bytes = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual Io handshake() = 0;
  virtual Transferred read(std::span<char> into) = 0;     // closed: the other side sends no more
  virtual Transferred write(std::string_view bytes) = 0;  // may take a part
  virtual void say_goodbye() = 0;                         // as far as it goes without waiting
};

// Does not own the socket.
std::unique_ptr<Transport> make_plain_transport(int socket);

}  // namespace fastcache::server
