// SPDX-License-Identifier: Apache-2.0
// VPDPBUSD tiles of 1 to 12 rows x 16 columns. Per block of 32 channels and row: 8 dot-product instructions
// with the activations broadcast from memory, one conversion, one multiplication and one or two FMAs. All
// sums live in registers, which is why every loop over rows must unroll completely.
#include "linear/kernels_avx512.h"

#include "base/simd.h"

#if defined(__x86_64__)
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false alarm inside the intrinsics of gcc 12
#endif
FC_TARGET_BEGIN(FC_AVX512_TARGET)
namespace fastcache::linear::avx512 {
namespace {

#define FC_INLINE inline __attribute__((always_inline))

constexpr int kPrefetchBytes = 2048;  // ahead of the record in work

template <bool kHalf>
FC_INLINE __m512 load_scales(const std::byte* from) {
  if constexpr (kHalf) return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  return _mm512_loadu_ps(from);
}

template <int kRecordBytes>
FC_INLINE void prefetch_ahead(const std::byte* record) {
#pragma GCC unroll 16
  for (int at = 0; at < kRecordBytes; at += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(record) + kPrefetchBytes + at, _MM_HINT_T0);
  }
}

// Codes of groups 2 * pair and 2 * pair + 1 (4 channels each, 16 columns).
template <Codes kCodes>
FC_INLINE void load_codes(const std::byte* codes, int pair, __m512i& even, __m512i& odd) {
  if constexpr (kCodes == Codes::u4) {
    const __m512i mask = _mm512_set1_epi8(15);
    const __m512i both = _mm512_loadu_si512(codes + pair * 64);
    even = _mm512_and_si512(both, mask);
    odd = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
  } else {
    even = _mm512_loadu_si512(codes + pair * 128);
    odd = _mm512_loadu_si512(codes + pair * 128 + 64);
  }
}

FC_INLINE __m512i broadcast_group(const int8_t* x, int group) {
  return _mm512_set1_epi32(reinterpret_cast<const int32_t*>(x)[group]);
}

// One scale's worth of channels: sums[r] += scale * activation scale * dot (+ min * scaled sum), in that
// order.
template <FormatId kId, int kRows>
FC_INLINE void add_sub_block(const std::byte* record, int sub, const QuantizedRecord& x,
                             const float* scaled_sums, const int32_t* negative_sums, __m512* sums) {
  constexpr Format kFormat = format_of(kId);
  constexpr int kPairs = 4 / kFormat.sub_blocks;
  constexpr bool kTwoChains = kRows <= 4;  // few rows: shorter chains of dependent dot products
  __m512i dot[kRows], odd_dot[kRows];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    dot[r] = kFormat.has_min ? _mm512_setzero_si512()
                             : _mm512_slli_epi32(_mm512_set1_epi32(negative_sums[r]), kFormat.offset_shift);
    odd_dot[r] = _mm512_setzero_si512();
  }
#pragma GCC unroll 4
  for (int p = sub * kPairs; p < (sub + 1) * kPairs; ++p) {
    __m512i even, odd;
    load_codes<kFormat.codes>(record + kFormat.codes_offset(), p, even, odd);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r)
      dot[r] = _mm512_dpbusd_epi32(dot[r], even, broadcast_group(x.codes[r], 2 * p));
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      __m512i& chain = kTwoChains ? odd_dot[r] : dot[r];
      chain = _mm512_dpbusd_epi32(chain, odd, broadcast_group(x.codes[r], 2 * p + 1));
    }
  }
  const __m512 scale = load_scales<kFormat.half_scales>(record + sub * 64);
  const __m512 min = kFormat.has_min
                         ? load_scales<kFormat.half_scales>(record + kFormat.scale_bytes() + sub * 64)
                         : _mm512_setzero_ps();
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    const __m512i total = kTwoChains ? _mm512_add_epi32(dot[r], odd_dot[r]) : dot[r];
    const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[r]));
    sums[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), factor, sums[r]);
    if constexpr (kFormat.has_min) sums[r] = _mm512_fmadd_ps(min, _mm512_set1_ps(scaled_sums[r]), sums[r]);
  }
}

template <int kRows>
FC_INLINE void write_rows(const TileArgs& args, const __m512* sums) {
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    if (r >= args.n_rows) return;
    const size_t at = static_cast<size_t>(r) * args.out_stride;
    const __m512 sum =
        args.residual != nullptr ? _mm512_add_ps(_mm512_loadu_ps(args.residual + at), sums[r]) : sums[r];
    _mm512_storeu_ps(args.out + at, sum);
  }
}

template <FormatId kId, int kRows>
void tile_of(const TileArgs& args) {
  constexpr Format kFormat = format_of(kId);
  constexpr int kSubs = kFormat.sub_blocks;
  __m512 sums[kRows];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) sums[r] = _mm512_setzero_ps();
  const std::byte* record = args.strip;
  const QuantizedRecord* x = args.input.records;
  const float* scaled_sums = args.input.scaled_sums[kSubs - 1];
  const int32_t* negative_sums = args.input.negative_sums[kSubs - 1];
  for (int b = 0; b < args.n_blocks; ++b) {
    // One row only streams its weights, and there the processor's own prefetch is faster alone.
    if constexpr (kRows > 1) prefetch_ahead<static_cast<int>(kFormat.record_bytes())>(record);
#pragma GCC unroll 2
    for (int sub = 0; sub < kSubs; ++sub) {
      add_sub_block<kId, kRows>(record, sub, *x, scaled_sums, negative_sums, sums);
      scaled_sums += kTileRows;
      negative_sums += kTileRows;
    }
    record += kFormat.record_bytes();
    ++x;
  }
  write_rows<kRows>(args, sums);
}

}  // namespace

template <FormatId kId>
void quantised_tile(const TileArgs& args) {
  switch (args.n_rows) {
    case 1:
      return tile_of<kId, 1>(args);
    case 2:
      return tile_of<kId, 2>(args);
    case 3:
      return tile_of<kId, 3>(args);
    case 4:
      return tile_of<kId, 4>(args);
    case 5:
    case 6:
      return tile_of<kId, 6>(args);
    case 7:
    case 8:
      return tile_of<kId, 8>(args);
    case 9:
    case 10:
      return tile_of<kId, 10>(args);
    default:
      return tile_of<kId, 12>(args);
  }
}

template void quantised_tile<FormatId::q4_0>(const TileArgs&);
template void quantised_tile<FormatId::q4_1>(const TileArgs&);
template void quantised_tile<FormatId::q5_0>(const TileArgs&);
template void quantised_tile<FormatId::q5_1>(const TileArgs&);
template void quantised_tile<FormatId::q8_0>(const TileArgs&);
template void quantised_tile<FormatId::q2_k>(const TileArgs&);
template void quantised_tile<FormatId::q3_k>(const TileArgs&);
template void quantised_tile<FormatId::q4_k>(const TileArgs&);
template void quantised_tile<FormatId::q5_k>(const TileArgs&);
template void quantised_tile<FormatId::q6_k>(const TileArgs&);

}  // namespace fastcache::linear::avx512
FC_TARGET_END

namespace fastcache::linear {

constinit const KernelTable kAvx512Kernels{
    Isa::avx512,
    {avx512::quantised_tile<FormatId::q4_0>, avx512::quantised_tile<FormatId::q4_1>,
     avx512::quantised_tile<FormatId::q5_0>, avx512::quantised_tile<FormatId::q5_1>,
     avx512::quantised_tile<FormatId::q8_0>, avx512::quantised_tile<FormatId::q2_k>,
     avx512::quantised_tile<FormatId::q3_k>, avx512::quantised_tile<FormatId::q4_k>,
     avx512::quantised_tile<FormatId::q5_k>, avx512::quantised_tile<FormatId::q6_k>,
     avx512::float_tile<FormatId::f16>, avx512::bf16_tile, avx512::float_tile<FormatId::f32>},
    avx512::quantize,
    avx512::round,
    avx512::gate_up,
    avx512::gate_tile};

}  // namespace fastcache::linear
#endif
