// SPDX-License-Identifier: Apache-2.0
// Keeps the pages of other sites away from a server that asks for no key. A browser lets any page post to
// 127.0.0.1 (only the answer is hidden from it), and a page whose host name was made to point to this machine
// even counts as the server's own.
#pragma once

#include <string>
#include <string_view>

#include "server/cors.h"

namespace fastcache::server {

// A name that no stranger's DNS can point to this machine: an address, localhost, or own_host.
bool is_own_host(std::string_view host_header, std::string_view own_host);

// Whether a request may go on. Without an Origin it does not come from a page.
bool may_ask(const Cors& cors, const std::string& origin, std::string_view host_header,
             std::string_view own_host);

}  // namespace fastcache::server
