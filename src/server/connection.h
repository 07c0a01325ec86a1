// SPDX-License-Identifier: Apache-2.0
// One connection from its handshake to its end: requests are answered one after the other, in order.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <memory>

#include "server/server_state.h"

namespace fastcache::server {

// Lets no exception out. `server` must outlive it.
boost::asio::awaitable<void> serve_connection(std::shared_ptr<Wire> wire, ServerState& server);

// Over the cap: says so and closes.
boost::asio::awaitable<void> refuse_connection(std::shared_ptr<Wire> wire, ServerState& server);

}  // namespace fastcache::server
