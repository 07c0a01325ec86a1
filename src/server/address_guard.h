// SPDX-License-Identifier: Apache-2.0
// Which addresses a server may be made to ask: those of the public internet alone, so that no URL in a
// request reaches this machine, its network or a cloud's metadata service.
#pragma once

#include <boost/asio/ip/address.hpp>

namespace fastcache::server {

// False for what the IANA special-purpose registries (RFC 6890) set apart: loopback, private, link-local,
// shared, multicast, documentation, ... IPv4 inside IPv6 (mapped, NAT64) counts as what it stands for;
// tunnels (6to4, Teredo) are refused.
bool is_public(const boost::asio::ip::address& address);

}  // namespace fastcache::server
