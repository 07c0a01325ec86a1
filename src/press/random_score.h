// SPDX-License-Identifier: Apache-2.0
// Random numbers that depend on what they are for, not on when they are drawn.
#pragma once

#include <cstdint>

namespace fastcache::press {

// Spreads every bit of x over all bits (the finaliser of SplitMix64).
constexpr uint64_t mix_bits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

constexpr uint64_t random_bits(uint64_t seed, int layer, int head, int token) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15U;
  const uint64_t place = (static_cast<uint64_t>(layer) << 32) | static_cast<uint32_t>(head);
  return mix_bits(mix_bits(mix_bits(seed + kGolden) + place + kGolden) + static_cast<uint64_t>(token) +
                  kGolden);
}

// In [0, 1), 24 bits.
constexpr float random_score(uint64_t seed, int layer, int head, int token) {
  return static_cast<float>(random_bits(seed, layer, head, token) >> 40) * 0x1p-24f;
}

}  // namespace fastcache::press
