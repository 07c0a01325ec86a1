// SPDX-License-Identifier: Apache-2.0
// Bodies of completion requests, right and wrong. For tests.
#pragma once

#include <string>
#include <vector>

#include "server/api_request.h"

namespace fastcache::server::test_support {

// The least that an endpoint takes, and these fields behind it: `"n": 2, "stop": "x"`. The last of equal
// names counts.
std::string body_with(Endpoint endpoint, const std::string& fields);

std::vector<std::string> json_of_each_type();

}  // namespace fastcache::server::test_support
