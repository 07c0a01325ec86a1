// SPDX-License-Identifier: Apache-2.0
// bfloat16 and float16 conversions that give the same bits on every path (round to nearest, ties to even).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace fastcache {

using bf16_t = uint16_t;  // the upper half of a float
using f16_t = uint16_t;   // IEEE binary16

inline float bf16_to_f32(bf16_t x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }

inline bf16_t f32_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<bf16_t>((bits >> 16) | 0x40U);  // NaN stays NaN
  return static_cast<bf16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

inline float f16_to_f32(f16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000U) << 16;
  const uint32_t exponent = (h >> 10) & 0x1fU;
  const uint32_t mantissa = h & 0x3ffU;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

}  // namespace fastcache
