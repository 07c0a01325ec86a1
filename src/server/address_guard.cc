// SPDX-License-Identifier: Apache-2.0
#include "server/address_guard.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace fastcache::server {
namespace {

namespace ip = boost::asio::ip;

struct Block4 {
  uint32_t first;
  int prefix_bits;
};

constexpr uint32_t quad(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return (a << 24) | (b << 16) | (c << 8) | d;
}

constexpr Block4 kReserved4[] = {
    {quad(0, 0, 0, 0), 8},       {quad(10, 0, 0, 0), 8},     {quad(100, 64, 0, 0), 10},
    {quad(127, 0, 0, 0), 8},     {quad(169, 254, 0, 0), 16}, {quad(172, 16, 0, 0), 12},
    {quad(192, 0, 0, 0), 24},    {quad(192, 0, 2, 0), 24},   {quad(192, 31, 196, 0), 24},
    {quad(192, 52, 193, 0), 24}, {quad(192, 88, 99, 0), 24}, {quad(192, 168, 0, 0), 16},
    {quad(192, 175, 48, 0), 24}, {quad(198, 18, 0, 0), 15},  {quad(198, 51, 100, 0), 24},
    {quad(203, 0, 113, 0), 24},  {quad(224, 0, 0, 0), 3}};  // multicast and what is behind it

bool is_public4(const ip::address_v4& address) {
  const uint32_t number = address.to_uint();
  return std::none_of(std::begin(kReserved4), std::end(kReserved4), [number](const Block4& block) {
    return (number ^ block.first) >> (32 - block.prefix_bits) == 0;
  });
}

using Bytes16 = ip::address_v6::bytes_type;

struct Block6 {
  std::array<uint8_t, 16> first;
  int prefix_bits;
};

constexpr Block6 kMapped{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96};
constexpr Block6 kNat64{{0, 0x64, 0xff, 0x9b}, 96};
constexpr Block6 kGlobal{{0x20}, 3};                  // the only block from which addresses are given out
constexpr Block6 kReserved6[] = {{{0x20, 0x01}, 23},  // Teredo, benchmarks, ORCHID and other protocols
                                 {{0x20, 0x01, 0x0d, 0xb8}, 32},  // documentation
                                 {{0x20, 0x02}, 16},              // 6to4
                                 {{0x3f, 0xff}, 20}};             // documentation

bool lies_in(const Bytes16& address, const Block6& block) {
  for (int bit = 0; bit < block.prefix_bits; bit += 8) {
    const auto at = static_cast<size_t>(bit / 8);
    const int n_bits = std::min(8, block.prefix_bits - bit);
    if ((address[at] ^ block.first[at]) >> (8 - n_bits) != 0) return false;
  }
  return true;
}

bool is_public6(const ip::address_v6& address) {
  const Bytes16 bytes = address.to_bytes();
  if (lies_in(bytes, kMapped) || lies_in(bytes, kNat64))
    return is_public4(ip::address_v4({bytes[12], bytes[13], bytes[14], bytes[15]}));
  return lies_in(bytes, kGlobal) && std::none_of(std::begin(kReserved6), std::end(kReserved6),
                                                 [&](const Block6& block) { return lies_in(bytes, block); });
}

}  // namespace

bool is_public(const ip::address& address) {
  return address.is_v4() ? is_public4(address.to_v4()) : is_public6(address.to_v6());
}

}  // namespace fastcache::server
