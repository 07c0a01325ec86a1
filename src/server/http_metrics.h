// SPDX-License-Identifier: Apache-2.0
// What the HTTP server counts, for /metrics.
#pragma once

#include <string>

#include "server/http_options.h"

namespace fastcache::server {

// Whole families in Prometheus' text format.
std::string http_metrics(const HttpCounters& counters);

}  // namespace fastcache::server
