// SPDX-License-Identifier: Apache-2.0
// Float weights in f32 FMAs, quantisation of activations, and the gates: everything of the AVX-512 table that
// is not an integer tile.
#include "base/simd.h"
#include "linear/gate_math.h"
#include "linear/kernels_avx512.h"

#if defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false alarm inside the intrinsics of gcc 12
FC_TARGET_BEGIN(FC_AVX512_TARGET)
namespace fastcache::linear::avx512 {
namespace {

#define FC_INLINE inline __attribute__((always_inline))

template <Codes kCodes>
FC_INLINE __m512 load_channel(const std::byte* record, int channel) {
  if constexpr (kCodes == Codes::f32) return _mm512_loadu_ps(record + channel * 64);
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(record + channel * 32));
  if constexpr (kCodes == Codes::f16) return _mm512_cvtph_ps(halves);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

template <FormatId kId, int kRows>
void tile_of(const TileArgs& args) {
  constexpr Format kFormat = format_of(kId);
  constexpr int kBytes = static_cast<int>(kFormat.record_bytes());
  __m512 sums[kRows];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) sums[r] = _mm512_setzero_ps();
  const std::byte* record = args.strip;
  const float* x = args.input.values;
  for (int b = 0; b < args.n_blocks; ++b, record += kBytes, x += kTileRows * kBlockChannels) {
    __m512 part[kRows];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) part[r] = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < kBlockChannels; ++i) {
      if (i * (kBytes / kBlockChannels) % 64 == 0) {
        _mm_prefetch(reinterpret_cast<const char*>(record) + 2048 + i * (kBytes / kBlockChannels),
                     _MM_HINT_T0);
      }
      const __m512 weight = load_channel<kFormat.codes>(record, i);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r)
        part[r] = _mm512_fmadd_ps(weight, _mm512_set1_ps(x[r * kBlockChannels + i]), part[r]);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) sums[r] = _mm512_add_ps(sums[r], part[r]);
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) _mm512_store_ps(args.out + r * kStripColumns, sums[r]);
}

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

FC_INLINE __m512i quantise_16(__m512 x, __m512 inverse) {
  __m512 scaled = _mm512_mul_ps(x, inverse);
  scaled = _mm512_max_ps(scaled, _mm512_set1_ps(-127.0F));  // in this order a NaN becomes -127
  scaled = _mm512_min_ps(scaled, _mm512_set1_ps(127.0F));
  return _mm512_cvtps_epi32(scaled);
}

}  // namespace

template <FormatId kId>
void float_tile(const TileArgs& args) {
  switch (args.n_rows) {
    case 1:
      return tile_of<kId, 1>(args);
    case 2:
      return tile_of<kId, 2>(args);
    case 3:
    case 4:
      return tile_of<kId, 4>(args);
    case 5:
    case 6:
      return tile_of<kId, 6>(args);
    case 7:
    case 8:
      return tile_of<kId, 8>(args);
    default:
      return tile_of<kId, 12>(args);
  }
}

template void float_tile<FormatId::f16>(const TileArgs&);
template void float_tile<FormatId::bf16>(const TileArgs&);
template void float_tile<FormatId::f32>(const TileArgs&);

void quantize(const float* x, int n_blocks, const QuantizedSlots& out) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  for (int b = 0; b < n_blocks; ++b, x += kBlockChannels) {
    const __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
    const __m512i max_bits = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low), magnitude),
                                              _mm512_and_si512(_mm512_castps_si512(high), magnitude));
    const float max = _mm_cvtss_f32(
        _mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(_mm512_reduce_max_epu32(max_bits)))));
    const bool zero = max < 1e-30F;  // false for a NaN, as it must be
    const __m512 inverse = _mm512_set1_ps(zero ? 0.0F : 127.0F / max);
    const __m512i low_codes = quantise_16(low, inverse), high_codes = quantise_16(high, inverse);
    int8_t* codes = out.records[b].codes[out.row];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(low_codes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16), _mm512_cvtepi32_epi8(high_codes));
    store_block_scale(out, b, zero ? 0.0F : max / 127.0F, _mm512_reduce_add_epi32(low_codes),
                      _mm512_reduce_add_epi32(high_codes));
  }
}

void gate_up(Gate kind, const float* gate, const float* up, int n, float* out) {
  for (int i = 0; i < n; i += 16) {
    const __m512 x = _mm512_loadu_ps(gate + i);
    __m512 z = x;
    if (kind == Gate::gelu) {
      z = _mm512_mul_ps(
          x, _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(kGeluCubic), _mm512_set1_ps(kGeluLinear)));
    }
    const __m512 e = exp_ps(_mm512_xor_ps(z, _mm512_set1_ps(-0.0F)));
    const __m512 gated = _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0F), e));
    _mm512_storeu_ps(out + i, _mm512_mul_ps(gated, _mm512_loadu_ps(up + i)));
  }
}

}  // namespace fastcache::linear::avx512
FC_TARGET_END
#endif
