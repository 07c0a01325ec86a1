// SPDX-License-Identifier: Apache-2.0
// Quantisation and rounding of activations, and the gates, on AVX2.
#include "base/simd.h"
#include "linear/gate_math.h"
#include "linear/kernels_avx2.h"

#if defined(__x86_64__)
FC_TARGET_BEGIN(FC_AVX2_TARGET)
namespace fastcache::linear::avx2 {
namespace {

#define FC_INLINE inline __attribute__((always_inline))

FC_INLINE __m256 exp_ps(__m256 x) {
  x = _mm256_min_ps(x, _mm256_set1_ps(kExpMax));
  x = _mm256_max_ps(x, _mm256_set1_ps(kExpMin));
  const __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(kLog2E), _mm256_set1_ps(kRoundMagic));
  const __m256 n = _mm256_sub_ps(shifted, _mm256_set1_ps(kRoundMagic));
  __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(kMinusLn2High), x);
  r = _mm256_fmadd_ps(n, _mm256_set1_ps(kMinusLn2Low), r);
  __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(kExp5), r, _mm256_set1_ps(kExp4));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp3));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp2));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp1));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp0));
  p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0F));
  const __m256i power = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127));
  return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
}

FC_INLINE __m256 gate_ps(Gate kind, __m256 x, __m256 up) {
  __m256 z = x;
  if (kind == Gate::gelu) {
    z = _mm256_mul_ps(
        x, _mm256_fmadd_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(kGeluCubic), _mm256_set1_ps(kGeluLinear)));
  }
  const __m256 e = exp_ps(_mm256_xor_ps(z, _mm256_set1_ps(-0.0F)));
  return _mm256_mul_ps(_mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0F), e)), up);
}

FC_INLINE __m256i magnitude_bits(__m256 x) {
  return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
}

FC_INLINE float max_magnitude(const __m256 (&x)[4]) {
  const __m256i max8 = _mm256_max_epu32(_mm256_max_epu32(magnitude_bits(x[0]), magnitude_bits(x[1])),
                                        _mm256_max_epu32(magnitude_bits(x[2]), magnitude_bits(x[3])));
  __m128i max = _mm_max_epu32(_mm256_castsi256_si128(max8), _mm256_extracti128_si256(max8, 1));
  max = _mm_max_epu32(max, _mm_shuffle_epi32(max, 0x4e));
  max = _mm_max_epu32(max, _mm_shuffle_epi32(max, 0xb1));
  return _mm_cvtss_f32(_mm_castsi128_ps(max));
}

FC_INLINE __m256i codes_of(__m256 x, __m256 inverse) { return _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse)); }

// 32 channels of one row. A NaN becomes the code -128 beside a scale that is NaN.
FC_INLINE void quantise_block(const __m256 (&x)[4], int block, const QuantizedSlots& out) {
  const float max = max_magnitude(x);
  const bool zero = max < 1e-30F;  // false for a NaN, as it must be
  const __m256 inverse = _mm256_set1_ps(zero ? 0.0F : 127.0F / max);
  const __m256i low = _mm256_packs_epi32(codes_of(x[0], inverse), codes_of(x[1], inverse));
  const __m256i high = _mm256_packs_epi32(codes_of(x[2], inverse), codes_of(x[3], inverse));
  // The packs interleave 128-bit halves; this puts the groups of four back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i codes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.records[block].codes[out.row]), codes);
  __m256i sums = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), codes), _mm256_set1_epi16(1));
  sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4e));
  sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0xb1));
  store_block_scale(out, block, zero ? 0.0F : max / 127.0F, _mm256_cvtsi256_si32(sums),
                    _mm_cvtsi128_si32(_mm256_extracti128_si256(sums, 1)));
}

// round_activation() of 8 numbers, each in the low half of its lane.
FC_INLINE __m256i round_eight(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x), magnitude = magnitude_bits(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i nearest = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
  const __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x00800000), magnitude);
  __m256i result = _mm256_blendv_epi8(nearest, quiet, nan);
  result = _mm256_blendv_epi8(result, _mm256_and_si256(bits, _mm256_set1_epi32(INT32_MIN)), tiny);
  return _mm256_srli_epi32(result, 16);
}

FC_INLINE void round_block(const __m256 (&x)[4], bf16_t* out) {
  for (int i = 0; i < 2; ++i) {
    // The pack interleaves 128-bit halves; the permutation puts them back in order.
    const __m256i packed = _mm256_packus_epi32(round_eight(x[2 * i]), round_eight(x[2 * i + 1]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i * 16), _mm256_permute4x64_epi64(packed, 0xd8));
  }
}

FC_INLINE void load_block(const float* x, __m256 (&values)[4]) {
  for (int i = 0; i < 4; ++i) values[i] = _mm256_loadu_ps(x + i * 8);
}

}  // namespace

void quantize(const float* x, int n_blocks, const QuantizedSlots& out) {
  const QuantizedSlots to = out;  // a copy that no store can alias
  for (int b = 0; b < n_blocks; ++b, x += kBlockChannels) {
    __m256 values[4];
    load_block(x, values);
    quantise_block(values, b, to);
  }
}

void round(const float* x, int n_blocks, bf16_t* out) {
  for (int b = 0; b < n_blocks; ++b, x += kBlockChannels, out += kTileRows * kBlockChannels) {
    __m256 values[4];
    load_block(x, values);
    round_block(values, out);
  }
}

void gate_up(Gate kind, const float* gate, const float* up, int n, float* out) {
  for (int i = 0; i < n; i += 8) {
    _mm256_storeu_ps(out + i, gate_ps(kind, _mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
  }
}

void gate_tile(const GateTileArgs& args) {
  QuantizedSlots slots = args.slots != nullptr ? *args.slots : QuantizedSlots{};
  for (int r = 0; r < args.n_rows; ++r) {
    __m256 values[4];
    for (int i = 0; i < 4; ++i) {
      const int at = (i / 2 * kTileRows + r) * kStripColumns + i % 2 * 8;
      values[i] = gate_ps(args.kind, _mm256_load_ps(args.gate + at), _mm256_load_ps(args.up + at));
      if (args.values != nullptr) _mm256_storeu_ps(args.values + r * kBlockChannels + i * 8, values[i]);
    }
    if (args.rounded != nullptr) round_block(values, args.rounded + r * kBlockChannels);
    slots.row = r;
    if (args.slots != nullptr) quantise_block(values, 0, slots);
  }
}

}  // namespace fastcache::linear::avx2
FC_TARGET_END
#endif
