// SPDX-License-Identifier: Apache-2.0
// The canonical packed layout: what the bytes of a strip mean.
//
// A strip is 16 output columns x n_in channels: one record per 32 channels, one after the other, so that a
// GEMV reads a single linear address range. A record is
//     scales [sub_blocks][16 columns]   f16 where the file has f16, else f32
//     mins   [sub_blocks][16 columns]   only with has_min
//     codes  u8: [8 groups of 4 channels][16 columns][4 channels]
//            u4: [4 pairs of groups][16 columns][4 channels], even group in the low nibble, odd group in the
//            high one
//     bf16: [16 pairs of channels][16 columns][2 channels], as VDPBF16PS reads it; no scales
//     f16, f32: [32 channels][16 columns]; no scales
// and a weight is scale * code + min, or scale * (code - 2^offset_shift) without has_min.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fastcache::linear {

inline constexpr int kStripColumns = 16;   // f32 lanes of a zmm register
inline constexpr int kBlockChannels = 32;  // channels per record, and per activation scale
inline constexpr int kTileRows =
    12;  // rows of a register tile: 12 sums + 12 dot products + operands fill 32 registers

enum class Codes : uint8_t { u4, u8, f16, bf16, f32 };

struct Format {
  Codes codes = Codes::f32;
  int sub_blocks = 1;  // scales per 32 channels: 1, or 2 where the file has blocks of 16
  bool half_scales =
      false;  // the file's scale is one f16; K-quants have products of two numbers, exact in f32
  bool has_min = false;
  int offset_shift = 0;

  constexpr bool is_float() const { return codes != Codes::u4 && codes != Codes::u8; }
  constexpr size_t scale_bytes() const {
    return is_float() ? 0 : static_cast<size_t>(sub_blocks) * kStripColumns * (half_scales ? 2 : 4);
  }
  constexpr size_t codes_offset() const { return scale_bytes() * (has_min ? 2 : 1); }
  constexpr size_t codes_bytes() const {
    constexpr size_t weights = size_t{kStripColumns} * kBlockChannels;
    switch (codes) {
      case Codes::u4:
        return weights / 2;
      case Codes::u8:
        return weights;
      case Codes::f16:
      case Codes::bf16:
        return weights * 2;
      case Codes::f32:
        return weights * 4;
    }
    return 0;
  }
  constexpr size_t record_bytes() const { return codes_offset() + codes_bytes(); }
};

// One packed format for each file type, so that a kernel is a template over Format alone.
enum class FormatId : uint8_t { q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, f16, bf16, f32 };
inline constexpr int kFormatCount = 13;

inline constexpr std::array<Format, kFormatCount> kFormats{{
    {.codes = Codes::u4, .half_scales = true, .offset_shift = 3},  // q4_0
    {.codes = Codes::u4, .half_scales = true, .has_min = true},    // q4_1
    {.codes = Codes::u8, .half_scales = true, .offset_shift = 4},  // q5_0
    {.codes = Codes::u8, .half_scales = true, .has_min = true},    // q5_1
    {.codes = Codes::u8, .half_scales = true, .offset_shift = 7},  // q8_0
    {.codes = Codes::u4, .sub_blocks = 2, .has_min = true},        // q2_k
    {.codes = Codes::u4, .sub_blocks = 2, .offset_shift = 2},      // q3_k
    {.codes = Codes::u4, .has_min = true},                         // q4_k
    {.codes = Codes::u8, .has_min = true},                         // q5_k
    {.codes = Codes::u8, .sub_blocks = 2, .offset_shift = 5},      // q6_k
    {.codes = Codes::f16},
    {.codes = Codes::bf16},
    {.codes = Codes::f32},
}};

constexpr const Format& format_of(FormatId id) { return kFormats[static_cast<size_t>(id)]; }

// Where a float weight lies in its record, in elements.
constexpr size_t float_index(Codes codes, int channel, int column) {
  const int index = codes == Codes::bf16 ? (channel / 2 * kStripColumns + column) * 2 + channel % 2
                                         : channel * kStripColumns + column;
  return static_cast<size_t>(index);
}

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

}  // namespace fastcache::linear
