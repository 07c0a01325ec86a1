// SPDX-License-Identifier: Apache-2.0
// The start page: index.html at /, everything else of web/ at /web/<name>. No key is needed to see the page:
// it holds nothing of the server's, and asks for the key itself when the API wants one.
#pragma once

#include <vector>

#include "server/http.h"

namespace fastcache::server {

std::vector<Route> web_routes();

}  // namespace fastcache::server
