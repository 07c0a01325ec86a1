// SPDX-License-Identifier: Apache-2.0
// Integer tiles for CPUs without VNNI: up to 4 rows x 8 columns at a time. VPMADDUBSW gives sums of two
// products in 16 bits, saturating; as many of them are added in 16 bits as the largest code allows, then
// VPMADDWD widens.
#include "linear/kernels_avx2.h"

#include "base/simd.h"

#if defined(__x86_64__)
FC_TARGET_BEGIN(FC_AVX2_TARGET)
namespace fastcache::linear::avx2 {
namespace {

#define FC_INLINE inline __attribute__((always_inline))

constexpr int kHalfColumns = 8;

// Groups of 4 channels whose products fit into 16 bits together: 2 * 127 * largest code * groups <= 32767.
// Eight-bit codes do not fit even once; as signed numbers they do (2 * 127 * 128 = 32512).
template <FormatId kId>
constexpr int groups_in_16_bits() {
  constexpr Format kFormat = format_of(kId);
  if (kId == FormatId::q8_0 || kId == FormatId::q6_k) return kId == FormatId::q8_0 ? 1 : 2;
  return kFormat.codes == Codes::u4 ? 8 / kFormat.sub_blocks : 4;
}

template <bool kHalf>
FC_INLINE __m256 load_scales(const std::byte* array, int column) {
  if constexpr (kHalf)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(array + column * 2)));
  return _mm256_loadu_ps(reinterpret_cast<const float*>(array) + column);
}

// Codes of group g of the record, 8 columns from `column`.
template <Codes kCodes>
FC_INLINE __m256i load_codes(const std::byte* codes, int g, int column) {
  if constexpr (kCodes == Codes::u4) {
    const __m256i both =
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + g / 2 * 64 + column * 4));
    return _mm256_and_si256(g % 2 == 0 ? both : _mm256_srli_epi16(both, 4), _mm256_set1_epi8(15));
  }
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + g * 64 + column * 4));
}

// Products of 4 channels, pairs added: sixteen 16-bit numbers.
template <FormatId kId>
FC_INLINE __m256i products(__m256i codes, const int8_t* x, int g) {
  const __m256i activations = _mm256_set1_epi32(reinterpret_cast<const int32_t*>(x)[g]);
  if constexpr (kId == FormatId::q8_0) {
    const __m256i weights = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));  // code - 128
    return _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(activations, weights));
  }
  return _mm256_maddubs_epi16(codes, activations);
}

template <FormatId kId, int kRows>
FC_INLINE void add_sub_block(const std::byte* record, int column, int sub, const QuantizedRecord& x, int row,
                             const float* scaled_sums, const int32_t* negative_sums, __m256* sums) {
  constexpr Format kFormat = format_of(kId);
  constexpr int kGroups = 8 / kFormat.sub_blocks, kRun = groups_in_16_bits<kId>();
  constexpr bool kInitial =
      !kFormat.has_min && kId != FormatId::q8_0;  // q8_0's products are of code - offset already
  __m256i dot[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    dot[r] = kInitial ? _mm256_slli_epi32(_mm256_set1_epi32(negative_sums[row + r]), kFormat.offset_shift)
                      : _mm256_setzero_si256();
  }
#pragma GCC unroll 8
  for (int first = sub * kGroups; first < (sub + 1) * kGroups; first += kRun) {
    __m256i narrow[kRows];
#pragma GCC unroll 8
    for (int g = first; g < first + kRun; ++g) {
      const __m256i codes = load_codes<kFormat.codes>(record + kFormat.codes_offset(), g, column);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m256i product = products<kId>(codes, x.codes[row + r], g);
        narrow[r] = g == first ? product : _mm256_add_epi16(narrow[r], product);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(narrow[r], _mm256_set1_epi16(1)));
    }
  }
  const __m256 scale = load_scales<kFormat.half_scales>(record + sub * 64, column);
  __m256 min = _mm256_setzero_ps();
  if constexpr (kFormat.has_min)
    min = load_scales<kFormat.half_scales>(record + kFormat.scale_bytes() + sub * 64, column);
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const __m256 factor = _mm256_mul_ps(scale, _mm256_set1_ps(x.scales[row + r]));
    sums[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r]), factor, sums[r]);
    if constexpr (kFormat.has_min)
      sums[r] = _mm256_fmadd_ps(min, _mm256_set1_ps(scaled_sums[row + r]), sums[r]);
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

// Rows row .. row + kRows - 1 of the tile, 8 columns.
template <FormatId kId, int kRows>
void part_of(const TileArgs& args, int row, int column) {
  constexpr Format kFormat = format_of(kId);
  constexpr int kSubs = kFormat.sub_blocks;
  __m256 sums[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_ps();
  const std::byte* record = args.strip;
  const float* scaled_sums = args.input.scaled_sums[kSubs - 1];
  const int32_t* negative_sums = args.input.negative_sums[kSubs - 1];
  for (int b = 0; b < args.n_blocks; ++b, record += kFormat.record_bytes()) {
#pragma GCC unroll 2
    for (int sub = 0; sub < kSubs; ++sub) {
      add_sub_block<kId, kRows>(record, column, sub, args.input.records[b], row, scaled_sums, negative_sums,
                                sums);
      scaled_sums += kTileRows;
      negative_sums += kTileRows;
    }
  }
  write_rows<kRows>(args, row, column, sums);
}

}  // namespace

template <FormatId kId>
void quantised_tile(const TileArgs& args) {
  for (int row = 0; row < args.n_rows; row += 4) {
    for (int column = 0; column < kStripColumns; column += kHalfColumns) {
      switch (args.n_rows - row) {
        case 1:
          part_of<kId, 1>(args, row, column);
          break;
        case 2:
          part_of<kId, 2>(args, row, column);
          break;
        case 3:
          part_of<kId, 3>(args, row, column);
          break;
        default:
          part_of<kId, 4>(args, row, column);
          break;
      }
    }
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

}  // namespace fastcache::linear::avx2
FC_TARGET_END

namespace fastcache::linear {

constinit const KernelTable kAvx2Kernels{
    Isa::avx2,
    {avx2::quantised_tile<FormatId::q4_0>, avx2::quantised_tile<FormatId::q4_1>,
     avx2::quantised_tile<FormatId::q5_0>, avx2::quantised_tile<FormatId::q5_1>,
     avx2::quantised_tile<FormatId::q8_0>, avx2::quantised_tile<FormatId::q2_k>,
     avx2::quantised_tile<FormatId::q3_k>, avx2::quantised_tile<FormatId::q4_k>,
     avx2::quantised_tile<FormatId::q5_k>, avx2::quantised_tile<FormatId::q6_k>,
     avx2::float_tile<FormatId::f16>, avx2::float_tile<FormatId::bf16>, avx2::float_tile<FormatId::f32>},
    avx2::quantize,
    avx2::round,
    avx2::gate_up,
    avx2::gate_tile};

}  // namespace fastcache::linear
#endif
