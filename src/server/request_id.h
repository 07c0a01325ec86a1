// SPDX-License-Identifier: Apache-2.0
// X-Request-Id: what ties a client's complaint to a line of the log.
#pragma once

#include <random>
#include <string>
#include <string_view>

namespace fastcache::server {

class RequestIds {
 public:
  std::string next();  // "req-" and 24 hexadecimal digits by chance

 private:
  std::mt19937_64 chance_{std::random_device{}()};
};

// 1 to 128 of letters, digits, '-', '_', '.', ':': safe in logs and headers.
bool is_request_id(std::string_view text);

}  // namespace fastcache::server
