// SPDX-License-Identifier: Apache-2.0
// One client's socket: bytes in and out with deadlines, and the watch for a client that leaves. Server's
// thread.
//
// Reading and writing go through a Transport that never blocks; this class waits for readiness, so that no
// buffer is held while a connection is idle.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_options.h"
#include "server/transport.h"

namespace fastcache::server {

// What all wires of a server share.
struct WireShared {
  HttpLimits limits;
  HttpCounters counters;
  std::vector<char> scratch = std::vector<char>(64 << 10);  // one read at a time: there is one thread
};

enum class Received { bytes, end, timed_out, failed };  // end: the client sends no more

class Wire : public std::enable_shared_from_this<Wire> {
 public:
  Wire(boost::asio::ip::tcp::socket socket, std::unique_ptr<Transport> transport, WireShared& shared);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  boost::asio::awaitable<bool> handshake();  // false: give up
  // Waits until bytes have come and appends them to received().
  boost::asio::awaitable<Received> receive();
  // Resumes when the socket has taken all. The bytes belong to the caller until then. Throws ClientGone.
  boost::asio::awaitable<void> write(std::string_view bytes);
  // Ends our side and takes what the client still sends for a moment, so that its system does not throw our
  // last answer away, as it does after a reset.
  boost::asio::awaitable<void> linger();

  std::string& received() { return received_; }
  void release_buffers();  // nothing was received that is not used up

  // receive() and handshake() give up then. A later call moves it.
  void set_deadline(std::chrono::milliseconds from_now);
  void clear_deadline();

  // While watched, bytes are read ahead (up to limits.pipelined_bytes) and an end or a reset is noticed. A
  // client that ends its sending side counts as gone: nothing tells it from one that left, and those who
  // leave are the many. One that sent more ahead than the limit is noticed by a reset or by the next write
  // alone.
  void watch();
  void unwatch() { watched_ = false; }
  void on_gone(std::function<void()> what);
  bool gone() const { return failed_ || ended_; }
  bool failed() const { return failed_; }

  void fail();   // drops the client: waits end, writes throw
  void close();  // the same in good order

  bool idle = true;  // no request is being received or answered: drain may close it

  const std::string& peer() const { return peer_; }

 private:
  enum Wait { kRead, kWrite, kError };
  boost::asio::awaitable<bool> wait(Io wanted);  // false: deadline or failure
  boost::asio::awaitable<void> give_way(size_t moved_bytes);
  Io take(size_t at_most);
  void look();
  void look_again_after(Wait what);
  void tell_gone();
  void arm_timer();

  boost::asio::ip::tcp::socket socket_;
  std::unique_ptr<Transport> transport_;
  WireShared& shared_;
  boost::asio::steady_timer timer_;
  std::chrono::steady_clock::time_point deadline_;
  std::string received_;
  std::string peer_;
  std::function<void()> gone_;
  size_t turn_bytes_ = 0;          // moved since the others had their turn
  std::array<bool, 3> looking_{};  // a wait of the watch is under way, by Wait
  bool timer_armed_ = false;
  bool timed_out_ = false;
  bool watched_ = false;
  bool ended_ = false;   // the client sends no more
  bool failed_ = false;  // nothing can be sent either
};

}  // namespace fastcache::server
