// SPDX-License-Identifier: Apache-2.0
#include "server/connection.h"

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"
#include "server/exchange.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

// False: there is none to come.
asio::awaitable<bool> wait_for_request(Wire& wire, ServerState& server) {
  if (!wire.received().empty()) {
    // A client that sends a thousand requests at once must not hold the others up.
    const auto executor = co_await asio::this_coro::executor;
    co_await asio::post(executor, asio::use_awaitable);
    co_return !wire.failed();
  }
  if (server.draining) co_return false;
  wire.release_buffers();
  wire.idle = true;
  wire.set_deadline(milliseconds(server.options.limits.idle_timeout_ms));
  const Received got = co_await wire.receive();
  wire.idle = false;
  co_return got == Received::bytes;
}

// The exchange lives in a frame of its own: idle connections are to be small.
asio::awaitable<bool> serve_request(Wire& wire, ServerState& server) {
  Exchange exchange(wire, server);
  const bool goes_on = co_await exchange.run();
  co_return goes_on;
}

asio::awaitable<void> serve_requests(Wire& wire, ServerState& server) {
  wire.set_deadline(milliseconds(server.options.limits.header_timeout_ms));
  const bool ready = co_await wire.handshake();
  if (!ready) co_return;
  while (true) {
    const bool has_request = co_await wait_for_request(wire, server);
    if (!has_request) break;
    const bool goes_on = co_await serve_request(wire, server);
    if (!goes_on) break;
  }
  co_await wire.linger();
}

asio::awaitable<void> send_refusal(Wire& wire, ServerState& server) {
  wire.set_deadline(milliseconds(server.options.limits.header_timeout_ms));
  const bool ready = co_await wire.handshake();
  if (!ready) co_return;
  Reply reply(wire, server);
  reply.manner.request_id = server.ids.next();
  const HttpFault fault{
      503, "The server has as many connections as it can; try again.", {{"Retry-After", "1"}}, ""};
  co_await reply.send_fault(fault);
  co_await wire.linger();
}

// In the set of open wires while it lives, even where its coroutine is destroyed in the middle.
class Registered {
 public:
  Registered(std::shared_ptr<Wire> wire, ServerState& server) : wire_(std::move(wire)), server_(server) {
    server_.wires.insert(wire_.get());
  }
  ~Registered() { server_.wires.erase(wire_.get()); }
  Registered(const Registered&) = delete;
  Registered& operator=(const Registered&) = delete;
  Wire& operator*() const { return *wire_; }

 private:
  const std::shared_ptr<Wire> wire_;
  ServerState& server_;
};

}  // namespace

asio::awaitable<void> serve_connection(std::shared_ptr<Wire> wire, ServerState& server) {
  const Registered registered(std::move(wire), server);
  try {
    co_await serve_requests(*registered, server);
  } catch (const ClientGone&) {
  } catch (const std::exception& error) {
    log().error("connection of {}: {}", (*registered).peer(), error.what());
  }
  (*registered).close();
}

asio::awaitable<void> refuse_connection(std::shared_ptr<Wire> wire, ServerState& server) {
  const Registered registered(std::move(wire), server);
  try {
    co_await send_refusal(*registered, server);
  } catch (const ClientGone&) {
  }
  (*registered).close();
}

}  // namespace fastcache::server
