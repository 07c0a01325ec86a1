// SPDX-License-Identifier: Apache-2.0
// Quantisation and rounding of activations, and the gates.
#include "base/simd.h"
#include "linear/gate_math.h"
#include "linear/kernels_avx512.h"

#if defined(__x86_64__)
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false alarm inside the intrinsics of gcc 12
#endif
FC_TARGET_BEGIN(FC_AVX512_TARGET)
namespace fastcache::linear::avx512 {
namespace {

#define FC_INLINE inline __attribute__((always_inline))

FC_INLINE __m512 exp_ps(__m512 x) {
  x = _mm512_min_ps(x, _mm512_set1_ps(kExpMax));
  x = _mm512_max_ps(x, _mm512_set1_ps(kExpMin));
  const __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(kLog2E), _mm512_set1_ps(kRoundMagic));
  const __m512 n = _mm512_sub_ps(shifted, _mm512_set1_ps(kRoundMagic));
  __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(kMinusLn2High), x);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(kMinusLn2Low), r);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(kExp5), r, _mm512_set1_ps(kExp4));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp3));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp2));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp1));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp0));
  p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0F));
  const __m512i power = _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127));
  return _mm512_mul_ps(p, _mm512_castsi512_ps(_mm512_slli_epi32(power, 23)));
}

FC_INLINE __m512 gate_ps(Gate kind, __m512 x, __m512 up) {
  __m512 z = x;
  if (kind == Gate::gelu) {
    z = _mm512_mul_ps(
        x, _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(kGeluCubic), _mm512_set1_ps(kGeluLinear)));
  }
  const __m512 e = exp_ps(_mm512_xor_ps(z, _mm512_set1_ps(-0.0F)));
  return _mm512_mul_ps(_mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0F), e)), up);
}

FC_INLINE float max_magnitude(__m512 low, __m512 high) {
  const __m512i mask = _mm512_set1_epi32(0x7fffffff);
  const __m512i max16 = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low), mask),
                                         _mm512_and_si512(_mm512_castps_si512(high), mask));
  const __m256i max8 = _mm256_max_epu32(_mm512_castsi512_si256(max16), _mm512_extracti64x4_epi64(max16, 1));
  __m128i max = _mm_max_epu32(_mm256_castsi256_si128(max8), _mm256_extracti128_si256(max8, 1));
  max = _mm_max_epu32(max, _mm_shuffle_epi32(max, 0x4e));
  max = _mm_max_epu32(max, _mm_shuffle_epi32(max, 0xb1));
  return _mm_cvtss_f32(_mm_castsi128_ps(max));
}

// 32 channels of one row. A NaN becomes the code -128 beside a scale that is NaN.
FC_INLINE void quantise_block(__m512 low, __m512 high, int block, const QuantizedSlots& out) {
  const float max = max_magnitude(low, high);
  const bool zero = max < 1e-30F;  // false for a NaN, as it must be
  const __m512 inverse = _mm512_set1_ps(zero ? 0.0F : 127.0F / max);
  const __m512i low_codes = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
  const __m512i high_codes = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
  const __m256i codes = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtsepi32_epi8(low_codes)),
                                                _mm512_cvtsepi32_epi8(high_codes), 1);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.records[block].codes[out.row]), codes);
  __m256i sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), codes);
  sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4e));
  sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0xb1));
  store_block_scale(out, block, zero ? 0.0F : max / 127.0F, _mm256_cvtsi256_si32(sums),
                    _mm_cvtsi128_si32(_mm256_extracti128_si256(sums, 1)));
}

FC_INLINE void round_block(__m512 low, __m512 high, bf16_t* out) {
  _mm512_storeu_si512(out, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

}  // namespace

void quantize(const float* x, int n_blocks, const QuantizedSlots& out) {
  const QuantizedSlots to = out;  // a copy that no store can alias
  for (int b = 0; b < n_blocks; ++b, x += kBlockChannels) {
    quantise_block(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16), b, to);
  }
}

void round(const float* x, int n_blocks, bf16_t* out) {
  for (int b = 0; b < n_blocks; ++b, x += kBlockChannels, out += kTileRows * kBlockChannels) {
    round_block(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16), out);
  }
}

void gate_up(Gate kind, const float* gate, const float* up, int n, float* out) {
  for (int i = 0; i < n; i += 16) {
    _mm512_storeu_ps(out + i, gate_ps(kind, _mm512_loadu_ps(gate + i), _mm512_loadu_ps(up + i)));
  }
}

void gate_tile(const GateTileArgs& args) {
  constexpr int kSecond = kTileRows * kStripColumns;  // the strip of channels 16 .. 31
  QuantizedSlots slots = args.slots != nullptr ? *args.slots : QuantizedSlots{};
  for (int r = 0; r < args.n_rows; ++r) {
    const float *gate = args.gate + r * kStripColumns, *up = args.up + r * kStripColumns;
    const __m512 low = gate_ps(args.kind, _mm512_load_ps(gate), _mm512_load_ps(up));
    const __m512 high = gate_ps(args.kind, _mm512_load_ps(gate + kSecond), _mm512_load_ps(up + kSecond));
    if (args.values != nullptr) {
      _mm512_storeu_ps(args.values + r * kBlockChannels, low);
      _mm512_storeu_ps(args.values + r * kBlockChannels + 16, high);
    }
    if (args.rounded != nullptr) round_block(low, high, args.rounded + r * kBlockChannels);
    slots.row = r;
    if (args.slots != nullptr) quantise_block(low, high, 0, slots);
  }
}

}  // namespace fastcache::linear::avx512
FC_TARGET_END
#endif
