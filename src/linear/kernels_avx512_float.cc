// SPDX-License-Identifier: Apache-2.0
// f32 and f16 weights in f32 FMAs.
#include "base/simd.h"
#include "linear/kernels_avx512.h"

#if defined(__x86_64__)
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false alarm inside the intrinsics of gcc 12
#endif
FC_TARGET_BEGIN(FC_AVX512_TARGET)
namespace fastcache::linear::avx512 {
namespace {

#define FC_INLINE inline __attribute__((always_inline))

template <Codes kCodes>
FC_INLINE __m512 load_channel(const std::byte* record, int channel) {
  if constexpr (kCodes == Codes::f32) return _mm512_loadu_ps(record + channel * 64);
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(record + channel * 32)));
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
  write_rows<kRows>(args, sums);
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
template void float_tile<FormatId::f32>(const TileArgs&);

}  // namespace fastcache::linear::avx512
FC_TARGET_END
#endif
