// SPDX-License-Identifier: Apache-2.0
// The HTTP server's counters as families for /metrics: ApiOptions::more_metrics.
#pragma once

#include <string>

#include "server/http_options.h"

namespace fastcache::server {

std::string http_metrics_text(const HttpCounters& counters);

}  // namespace fastcache::server
