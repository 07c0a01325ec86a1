// SPDX-License-Identifier: Apache-2.0
// Where the server listens.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "server/http_options.h"

namespace fastcache::server {

// Binds and listens. Throws Error: bad_request (no such host or port; an address that other machines reach,
// without a key), io (taken, not allowed).
boost::asio::ip::tcp::acceptor make_listener(boost::asio::io_context& context, const HttpOptions& options);

// Raises this process's limit of open files as far as it may; returns how many connections fit, at most
// `wanted`.
int fitting_connections(int wanted);

}  // namespace fastcache::server
