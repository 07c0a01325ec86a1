// SPDX-License-Identifier: Apache-2.0
#include "server/browser_guard.h"

#include <boost/asio/ip/address.hpp>

namespace fastcache::server {
namespace {

std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);  // an IPv6 address
  return host.substr(0, host.find(':'));
}

}  // namespace

bool is_own_host(std::string_view host_header, std::string_view own_host) {
  const std::string_view host = without_port(host_header);
  if (host.empty()) return false;
  if (host == "localhost" || host.ends_with(".localhost") || host == own_host) return true;
  boost::system::error_code error;
  boost::asio::ip::make_address(std::string(host), error);
  return !error;
}

bool may_ask(const Cors& cors, const std::string& origin, std::string_view host_header,
             std::string_view own_host) {
  if (origin.empty() || cors.allows(origin)) return true;
  const size_t host = origin.find("://");
  return host != origin.npos && std::string_view(origin).substr(host + 3) == host_header &&
         is_own_host(host_header, own_host);
}

}  // namespace fastcache::server
