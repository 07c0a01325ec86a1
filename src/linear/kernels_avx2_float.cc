// SPDX-License-Identifier: Apache-2.0
// Float weights on AVX2: up to 6 rows x 8 columns at a time.
#include "base/simd.h"
#include "linear/kernels_avx2.h"

#if defined(__x86_64__)
FC_TARGET_BEGIN(FC_AVX2_TARGET)
namespace fastcache::linear::avx2 {
namespace {

#define FC_INLINE inline __attribute__((always_inline))

template <Codes kCodes>
FC_INLINE __m256 load_channel(const std::byte* record, int channel, int column) {
  const int index = channel * kStripColumns + column;
  if constexpr (kCodes == Codes::f32) return _mm256_loadu_ps(reinterpret_cast<const float*>(record) + index);
  if constexpr (kCodes == Codes::f16) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(record + index * 2)));
  }
  const std::byte* pair = record + float_index(Codes::bf16, channel / 2 * 2, column) * 2;
  const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(pair));
  return _mm256_castsi256_ps(channel % 2 == 0
                                 ? _mm256_slli_epi32(both, 16)
                                 : _mm256_and_si256(both, _mm256_set1_epi32(static_cast<int>(0xffff0000U))));
}

// One block of kRows rows as f32: cheaper than widening an input for each channel and row.
template <int kRows>
FC_INLINE void widen(const bf16_t* from, float* to) {
  for (int i = 0; i < kRows * kBlockChannels; i += 8) {
    const __m128i rounded = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_store_ps(to + i, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(rounded), 16)));
  }
}

template <int kRows>
FC_INLINE void write_rows(const TileArgs& args, int row, int column, const __m256* sums) {
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    if (row + r >= args.n_rows) return;
    const size_t at = static_cast<size_t>(row + r) * args.out_stride + static_cast<size_t>(column);
    const __m256 sum =
        args.residual != nullptr ? _mm256_add_ps(_mm256_loadu_ps(args.residual + at), sums[r]) : sums[r];
    _mm256_storeu_ps(args.out + at, sum);
  }
}

template <FormatId kId, int kRows>
void part_of(const TileArgs& args, int row, int column) {
  constexpr Format kFormat = format_of(kId);
  __m256 sums[kRows];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_ps();
  const std::byte* record = args.strip;
  alignas(32) float wide[kRows * kBlockChannels];
  for (int b = 0; b < args.n_blocks; ++b, record += kFormat.record_bytes()) {
    const size_t first = static_cast<size_t>(b * kTileRows + row) * kBlockChannels;
    const float* x = wide;
    if constexpr (kFormat.codes == Codes::bf16) {
      widen<kRows>(args.input.rounded + first, wide);
    } else {
      x = args.input.values + first;
    }
    __m256 part[kRows];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) part[r] = _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < kBlockChannels; ++i) {
      const __m256 weight = load_channel<kFormat.codes>(record, i, column);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        part[r] = _mm256_fmadd_ps(weight, _mm256_set1_ps(x[r * kBlockChannels + i]), part[r]);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) sums[r] = _mm256_add_ps(sums[r], part[r]);
  }
  write_rows<kRows>(args, row, column, sums);
}

}  // namespace

template <FormatId kId>
void float_tile(const TileArgs& args) {
  for (int row = 0; row < args.n_rows; row += 6) {
    for (int column = 0; column < kStripColumns; column += 8) {
      switch (args.n_rows - row) {
        case 1:
          part_of<kId, 1>(args, row, column);
          break;
        case 2:
          part_of<kId, 2>(args, row, column);
          break;
        case 3:
        case 4:
          part_of<kId, 4>(args, row, column);
          break;
        default:
          part_of<kId, 6>(args, row, column);
          break;
      }
    }
  }
}

template void float_tile<FormatId::f16>(const TileArgs&);
template void float_tile<FormatId::bf16>(const TileArgs&);
template void float_tile<FormatId::f32>(const TileArgs&);

}  // namespace fastcache::linear::avx2
FC_TARGET_END
#endif
