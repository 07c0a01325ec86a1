// SPDX-License-Identifier: Apache-2.0
// Constants of exp and the gates, shared by the instruction sets so that all give the same bits.
#pragma once

namespace fastcache::linear {

// exp(x) = 2^n * p(r) with n = round(x / ln 2), r = x - n ln 2 in [-0.35, 0.35]; ln 2 in two parts so that r
// is exact. p: r^2 * (polynomial below) + r + 1, relative error below 1e-7. Coefficients: Cephes expf
// (Moshier).
inline constexpr float kExpMax = 88.0F, kExpMin = -87.0F;  // n stays in the range of normal exponents
inline constexpr float kLog2E = 1.44269504088896341F;
inline constexpr float kMinusLn2High = -0.693359375F, kMinusLn2Low = 2.12194440e-4F;
inline constexpr float kRoundMagic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer, ties to even
inline constexpr float kExp5 = 1.9875691500e-4F, kExp4 = 1.3981999507e-3F, kExp3 = 8.3334519073e-3F;
inline constexpr float kExp2 = 4.1665795894e-2F, kExp1 = 1.6666665459e-1F, kExp0 = 5.0000001201e-1F;

// tanh-GELU(x) = x / (1 + exp(-z)), z = 2 sqrt(2/pi) (x + 0.044715 x^3).
inline constexpr float kGeluLinear = 1.59576912160573071F;
inline constexpr float kGeluCubic = 0.0713548162726002527F;

}  // namespace fastcache::linear
