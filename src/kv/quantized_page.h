// SPDX-License-Identifier: Apache-2.0
// The inside of a quantised page: codes of 8, 4 or 2 bits, K with a scale and a zero for each channel over
// the page's rows, V with those of each row over its channels. x = scale * (code + zero / 16). source: KIVI,
// arXiv 2402.02750 (which groups are scaled together)
//
//   type  rows (head_dim 64, 128)  K                          V
//   q8     28,  28                 u32 [head_dim/4][rows]     u32 [rows/4][head_dim]
//   q4     56,  56                 u32 [head_dim/8][rows]     u32 [rows/8][head_dim]
//   q2    104, 112                 u32 [head_dim/16][rows]    u16 [rows/8][head_dim]
//
// K first, V behind it; at the payload's end QuantStep [head_dim] of K's channels, then [rows] of V's rows. A
// word of K holds consecutive channels of a row, one of V consecutive rows of a channel: the i-th lies at bit
// i / 2 * bits of the word's lower half if i is even, of the upper half if odd. So one shift brings a pair to
// the two halves, as VDPBF16PS wants them.
//
// zero counts sixteenths of a step: a scale rounded up to bf16 and a coarse zero cost a sixteenth of a step
// of the range, and any group, far from 0 or not, is stored within half a step. Codes are always finite
// numbers, so a kernel may read rows that nobody wrote or that were cut off; it hides them, as everywhere.
#pragma once

#include "base/bf16.h"
#include "kv/page_layout.h"

namespace fastcache::kv {

struct QuantStep {
  bf16_t scale = 0;
  int16_t zero = 0;
};

struct QuantizedLayout {
  int head_dim = 0;
  int bits = 0;
  int rows = 0;

  int word_channels() const { return 32 / bits; }      // in a word of K
  int unit_rows() const { return bits == 8 ? 4 : 8; }  // in a word of V
  int value_word_bytes() const { return bits == 2 ? 2 : 4; }
  size_t values_at() const { return static_cast<size_t>(head_dim) * rows * bits / 8; }
  size_t row_steps_at() const { return page_payload_bytes(head_dim) - sizeof(QuantStep) * rows; }
  size_t channel_steps_at() const { return row_steps_at() - sizeof(QuantStep) * head_dim; }
  float centre() const { return static_cast<float>(1 << (bits - 1)); }  // kernels multiply code - centre
};

constexpr KvType quantized_type(int bits) {  // 8, 4 or 2
  return bits == 8 ? KvType::q8 : bits == 4 ? KvType::q4 : KvType::q2;
}

constexpr QuantizedLayout quantized_layout(KvType type, int head_dim) {
  return {head_dim, element_bits(type), rows_per_page(type, head_dim)};
}

// Where the i-th code of a word begins; half: bits of half the word.
constexpr int quantized_bit(int i, int bits, int half) { return i / 2 * bits + i % 2 * half; }

// Calls f with the bits, 8, 4 or 2, as a template argument.
template <class F>
void by_bits(int bits, F f) {
  if (bits == 8) f.template operator()<8>();
  if (bits == 4) f.template operator()<4>();
  if (bits == 2) f.template operator()<2>();
}

// Rows 0 .. n - 1 of a page that is all zeros. k, v: [n, head_dim], f32, n <= rows_per_page. Of each element
// |error| <= 0.51 scale. What is not finite, or larger than 1e38, does not widen its group: infinity becomes
// the group's largest or smallest number, NaN what is next to 0. A group whose scale would be subnormal
// becomes zeros. Any thread, for pages of its own.
void quantize_page(const PageRef& page, KvType type, int head_dim, int n, const float* k, const float* v);

// As read_rows().
void read_quantized_rows(const PageRef& page, KvType type, int head_dim, int first_row, int n, float* k,
                         float* v);

}  // namespace fastcache::kv
