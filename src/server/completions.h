// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions and /v1/completions.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "server/api.h"
#include "server/http.h"

namespace fastcache::server {

// Throws Error where nothing was sent yet; a later one goes into the stream. A client that leaves cancels its
// answers at once: ClientGone is passed on.
boost::asio::awaitable<void> answer_completion(Api& api, Endpoint endpoint, const HttpRequest& request,
                                               HttpReply& reply);

}  // namespace fastcache::server
