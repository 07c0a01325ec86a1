// SPDX-License-Identifier: Apache-2.0
// All endpoints of the API.
#pragma once

#include <vector>

#include "server/api.h"
#include "server/http.h"

namespace fastcache::server {

// The Api must outlive the calls of the handlers. Of its errors those that name a field are answered here;
// others leave the handlers, as http.h says.
std::vector<Route> api_routes(Api& api);

}  // namespace fastcache::server
