// SPDX-License-Identifier: Apache-2.0
#include "server/wire.h"

#include <fmt/format.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <utility>

#include "server/http.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
constexpr auto kNever = Clock::time_point::max();
constexpr size_t kTurnBytes = 256 << 10;

// A client whose machine is gone says nothing: its request ends two minutes later, not two hours.
void probe_when_silent(int socket) {
  const int on = 1, idle_s = 60, interval_s = 15, probes = 4;
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

std::string name_of_peer(const asio::ip::tcp::socket& socket) {
  error_code ec;
  const auto peer = socket.remote_endpoint(ec);
  if (ec) return "unknown";
  const std::string address = peer.address().to_string();
  return peer.address().is_v6() ? fmt::format("[{}]:{}", address, peer.port())
                                : fmt::format("{}:{}", address, peer.port());
}

}  // namespace

Wire::Wire(asio::ip::tcp::socket socket, std::unique_ptr<Transport> transport, WireShared& shared)
    : socket_(std::move(socket)),
      transport_(std::move(transport)),
      shared_(shared),
      timer_(socket_.get_executor()),
      deadline_(kNever),
      peer_(name_of_peer(socket_)) {
  error_code ignored;
  socket_.native_non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);  // a token leaves when it is there
  probe_when_silent(socket_.native_handle());
  ++shared_.counters.connections_open;
}

Wire::~Wire() { --shared_.counters.connections_open; }

asio::awaitable<bool> Wire::wait(Io wanted) {
  if (failed_ || timed_out_) co_return false;
  const auto side = wanted == Io::wants_write ? asio::socket_base::wait_write : asio::socket_base::wait_read;
  turn_bytes_ = 0;
  co_await socket_.async_wait(side, asio::as_tuple(asio::use_awaitable));
  co_return !failed_ && !timed_out_;
}

// A fast client never makes us wait: without this its large body would hold the others' tokens up.
asio::awaitable<void> Wire::give_way(size_t moved_bytes) {
  turn_bytes_ += moved_bytes;
  if (turn_bytes_ < kTurnBytes) co_return;
  turn_bytes_ = 0;
  co_await asio::post(socket_.get_executor(), asio::use_awaitable);
}

asio::awaitable<bool> Wire::handshake() {
  while (!failed_) {
    const Io io = transport_->handshake();
    if (io == Io::done) co_return true;
    if (io == Io::closed || io == Io::failed) break;
    const bool ready = co_await wait(io);
    if (!ready) break;
  }
  co_return false;
}

// One read into the shared buffer, so that waiting connections own none.
Io Wire::take(size_t at_most) {
  if (failed_) return Io::failed;
  const std::span<char> scratch = std::span(shared_.scratch).first(std::min(at_most, shared_.scratch.size()));
  const Transferred read = transport_->read(scratch);
  received_.append(scratch.data(), read.bytes);
  shared_.counters.bytes_received += read.bytes;
  if (read.io == Io::closed) ended_ = true;
  return read.io;
}

asio::awaitable<Received> Wire::receive() {
  while (!ended_) {
    const size_t before = received_.size();
    const Io io = take(shared_.scratch.size());
    if (io == Io::done) {
      co_await give_way(received_.size() - before);
      co_return Received::bytes;
    }
    if (io == Io::failed) co_return Received::failed;
    if (io == Io::closed) break;
    const bool ready = co_await wait(io);
    if (!ready) co_return timed_out_ ? Received::timed_out : Received::failed;
  }
  co_return Received::end;
}

asio::awaitable<void> Wire::write(std::string_view bytes) {
  while (!bytes.empty()) {
    if (failed_) throw ClientGone{};
    const Transferred written = transport_->write(bytes);
    bytes.remove_prefix(written.bytes);
    shared_.counters.bytes_sent += written.bytes;
    if (written.io == Io::done) {
      co_await give_way(written.bytes);
      continue;
    }
    bool ready = false;
    if (written.io == Io::wants_read || written.io == Io::wants_write) {
      set_deadline(std::chrono::milliseconds(shared_.limits.write_timeout_ms));
      ready = co_await wait(written.io);
    }
    if (!ready) fail();
    clear_deadline();
  }
}

asio::awaitable<void> Wire::linger() {
  if (failed_) co_return;
  transport_->say_goodbye();
  error_code ignored;
  socket_.shutdown(socket_.shutdown_send, ignored);
  size_t left = 1 << 20;
  set_deadline(std::chrono::seconds(2));
  while (left > 0) {
    received_.clear();
    const Received got = co_await receive();
    if (got != Received::bytes) break;
    left -= std::min(left, received_.size());
  }
}

void Wire::release_buffers() {
  if (received_.empty()) std::string().swap(received_);
}

void Wire::set_deadline(std::chrono::milliseconds from_now) {
  timed_out_ = false;
  deadline_ = Clock::now() + from_now;
  // A timer that rings too early is cheaper than one that is set anew for each request.
  if (!timer_armed_ || timer_.expiry() > deadline_) arm_timer();
}

void Wire::clear_deadline() { deadline_ = kNever; }

void Wire::arm_timer() {
  timer_armed_ = true;
  timer_.expires_at(deadline_);
  timer_.async_wait([self = shared_from_this()](error_code ec) {
    if (ec || self->failed_) return;
    self->timer_armed_ = false;
    if (self->deadline_ == kNever) return;
    if (Clock::now() < self->deadline_) return self->arm_timer();
    self->timed_out_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

void Wire::watch() {
  watched_ = true;
  look();
}

void Wire::look() {
  while (watched_ && !gone()) {
    if (received_.size() >= shared_.limits.pipelined_bytes) return look_again_after(kError);
    const Io io = take(shared_.limits.pipelined_bytes - received_.size());
    if (io == Io::wants_read) return look_again_after(kRead);
    if (io == Io::wants_write) return look_again_after(kWrite);
    if (io == Io::failed) return fail();
    if (io == Io::closed) return tell_gone();
  }
}

void Wire::look_again_after(Wait what) {
  if (looking_[what]) return;  // since an earlier request
  looking_[what] = true;
  using asio::socket_base;
  constexpr std::array kSides{socket_base::wait_read, socket_base::wait_write, socket_base::wait_error};
  socket_.async_wait(kSides[what], [self = shared_from_this(), what](error_code ec) {
    self->looking_[what] = false;
    if (what == kError && !ec && self->watched_) return self->fail();
    self->look();
  });
}

void Wire::on_gone(std::function<void()> what) {
  gone_ = std::move(what);
  if (gone()) tell_gone();
}

void Wire::tell_gone() {
  const auto what = std::exchange(gone_, nullptr);  // it may set another
  if (what) what();
}

void Wire::fail() {
  if (failed_) return;
  error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0),
                     ignored);  // nobody takes what is unsent: let it go now
  close();
}

void Wire::close() {
  if (failed_) return;
  failed_ = true;
  timer_.cancel();
  error_code ignored;
  socket_.close(ignored);
  tell_gone();
}

}  // namespace fastcache::server
