// SPDX-License-Identifier: Apache-2.0
// VDPBF16PS tiles of 1 to 12 rows x 16 columns: a pair of channels of all columns per instruction, the pair
// of activations broadcast from memory.
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

constexpr int kPairs = kBlockChannels / 2;

FC_INLINE __m512i broadcast_pair(const bf16_t* pair) {
  return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(pair));
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

template <int kRows>
void tile_of(const TileArgs& args) {
  constexpr int kRecordBytes = static_cast<int>(format_of(FormatId::bf16).record_bytes());
  __m512 sums[kRows];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) sums[r] = _mm512_setzero_ps();
  const std::byte* record = args.strip;
  const bf16_t* x = args.input.rounded;
  for (int b = 0; b < args.n_blocks; ++b, record += kRecordBytes, x += kTileRows * kBlockChannels) {
    // A sum of its own for each block: the chains of two blocks overlap, and long sums lose less.
    __m512 part[kRows];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) part[r] = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; ++p) {
      const __m512i weights = _mm512_loadu_si512(record + p * 64);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const __m512i pair = broadcast_pair(x + r * kBlockChannels + 2 * p);
        part[r] = _mm512_dpbf16_ps(part[r], (__m512bh)weights, (__m512bh)pair);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) sums[r] = _mm512_add_ps(sums[r], part[r]);
  }
  write_rows<kRows>(args, sums);
}

}  // namespace

void bf16_tile(const TileArgs& args) {
  switch (args.n_rows) {
    case 1:
      return tile_of<1>(args);
    case 2:
      return tile_of<2>(args);
    case 3:
    case 4:
      return tile_of<4>(args);
    case 5:
    case 6:
      return tile_of<6>(args);
    case 7:
    case 8:
      return tile_of<8>(args);
    case 9:
    case 10:
      return tile_of<10>(args);
    default:
      return tile_of<12>(args);
  }
}

}  // namespace fastcache::linear::avx512
FC_TARGET_END
#endif
