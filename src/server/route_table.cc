// SPDX-License-Identifier: Apache-2.0
#include "server/route_table.h"

#include <fmt/format.h>

#include "base/error.h"

namespace fastcache::server {

void RouteTable::add(std::vector<Route> routes) {
  for (Route& route : routes) {
    if (find(route.method, route.path) != nullptr) {
      throw Error{Code::bad_request,
                  fmt::format("{} {} has two handlers; it must have one", route.method, route.path)};
    }
    routes_.push_back(std::move(route));
  }
}

const Route* RouteTable::find(const std::string& method, const std::string& path) const {
  const std::string wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : routes_) {
    if (route.method == wanted && route.path == path) return &route;
  }
  return nullptr;
}

std::string RouteTable::allowed_methods(const std::string& path) const {
  std::string methods;
  for (const Route& route : routes_) {
    if (route.path != path && path != "*") continue;
    if (methods.find(route.method) != methods.npos) continue;
    methods += route.method + ", ";
    if (route.method == "GET") methods += "HEAD, ";
  }
  return methods.empty() ? "" : methods + "OPTIONS";
}

}  // namespace fastcache::server
