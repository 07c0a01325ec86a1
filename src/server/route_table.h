// SPDX-License-Identifier: Apache-2.0
// Who answers which method and path.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "server/http.h"

namespace fastcache::server {

class RouteTable {
 public:
  void add(std::vector<Route> routes);  // throws Error (bad_request): the same method and path twice

  // HEAD finds GET's. Null: allowed_methods() says whether the path is unknown or the method.
  const Route* find(const std::string& method, const std::string& path) const;
  std::string allowed_methods(const std::string& path) const;  // "GET, HEAD, OPTIONS"; empty: no such path

 private:
  std::deque<Route> routes_;  // found ones stay where they are
};

}  // namespace fastcache::server
