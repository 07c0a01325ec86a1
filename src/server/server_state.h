// SPDX-License-Identifier: Apache-2.0
// What the connections of one server share. Server's thread.
#pragma once

#include <memory>
#include <unordered_set>

#include "server/api_keys.h"
#include "server/cors.h"
#include "server/http_options.h"
#include "server/request_id.h"
#include "server/route_table.h"
#include "server/tls.h"
#include "server/wire.h"

namespace fastcache::server {

struct ServerState {
  HttpOptions options;
  RouteTable routes;
  Cors cors;
  ApiKeys keys;
  std::unique_ptr<TlsContext> tls;  // null: none
  WireShared shared;
  RequestIds ids;
  std::unordered_set<Wire*> wires;  // open ones
  size_t bodies_bytes = 0;          // of requests being received or answered
  bool draining = false;
};

}  // namespace fastcache::server
