// SPDX-License-Identifier: Apache-2.0
// Whole pages of rows as f32, for statistics. K lies channel by channel, so it is read in that order: each
// cache line of the page once.
#include <bit>
#include <cassert>
#include <cstring>

#include "kv/page_layout.h"
#include "kv/quantized_page.h"

namespace fastcache::kv {
namespace {

constexpr uint32_t kUpperHalf = 0xffff0000U;

uint32_t word(const std::byte* base, size_t index) {
  uint32_t value;
  std::memcpy(&value, base + index * sizeof(value), sizeof(value));
  return value;
}

// Four words at once: half of K's reading is turning channel-major into row-major, and word by word that
// costs three times as much.
using Words = uint32_t __attribute__((vector_size(16)));

Words words(const std::byte* base, size_t index) {
  Words value;
  std::memcpy(&value, base + index * sizeof(uint32_t), sizeof(value));
  return value;
}

struct Square {  // 4 words of 4 rows
  Words row[4];
};

// The words of four consecutive rows from `index` on, at index, index + stride, ...: out.row[r] has row r's.
Square transposed(const std::byte* from, size_t index, size_t stride) {
  const Words a = words(from, index);
  const Words b = words(from, index + stride);
  const Words c = words(from, index + 2 * stride);
  const Words d = words(from, index + 3 * stride);
  const Words ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Words ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Words cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Words cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return {{__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
           __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
           __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
           __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)}};
}

void read_four_bf16_keys(const std::byte* from, int head_dim, int first_row, float* k) {
  constexpr int kRows = rows_per_page(KvType::bf16);
  for (int pair = 0; pair < head_dim / 2; pair += 4) {
    const Square square = transposed(from, static_cast<size_t>(pair) * kRows + first_row, kRows);
    for (int r = 0; r < 4; ++r) {
      const Words even = square.row[r] << 16;
      const Words odd = square.row[r] & kUpperHalf;
      const Words out[2] = {__builtin_shufflevector(even, odd, 0, 4, 1, 5),
                            __builtin_shufflevector(even, odd, 2, 6, 3, 7)};
      std::memcpy(k + static_cast<size_t>(r) * head_dim + 2 * static_cast<size_t>(pair), out, sizeof(out));
    }
  }
}

void read_bf16_key(const std::byte* from, int head_dim, int row, float* k) {
  constexpr int kRows = rows_per_page(KvType::bf16);
  for (int pair = 0; pair < head_dim / 2; ++pair) {
    const uint32_t both = word(from, static_cast<size_t>(pair) * kRows + row);
    k[2 * pair] = std::bit_cast<float>(both << 16);
    k[2 * pair + 1] = std::bit_cast<float>(both & kUpperHalf);
  }
}

void read_bf16_keys(const std::byte* from, int head_dim, int first_row, int n, float* k) {
  int r = 0;
  for (; r + 4 <= n; r += 4, k += 4 * static_cast<size_t>(head_dim))
    read_four_bf16_keys(from, head_dim, first_row + r, k);
  for (; r < n; ++r, k += head_dim) read_bf16_key(from, head_dim, first_row + r, k);
}

void read_bf16_values(const std::byte* from, int head_dim, int first_row, int n, float* v) {
  for (int row = first_row; row < first_row + n; ++row, v += head_dim) {
    const std::byte* pairs = from + static_cast<size_t>(row / 2) * head_dim * sizeof(uint32_t);
    if (row % 2 == 0) {
      for (int d = 0; d < head_dim; ++d) v[d] = std::bit_cast<float>(word(pairs, d) << 16);
    } else {
      for (int d = 0; d < head_dim; ++d) v[d] = std::bit_cast<float>(word(pairs, d) & kUpperHalf);
    }
  }
}

void read_f32_keys(const std::byte* from, int head_dim, int first_row, int n, float* k) {
  constexpr int kRows = rows_per_page(KvType::f32);
  for (int d = 0; d < head_dim; ++d)
    for (int r = 0; r < n; ++r)
      k[static_cast<size_t>(r) * head_dim + d] =
          std::bit_cast<float>(word(from, static_cast<size_t>(d) * kRows + first_row + r));
}

// scale: [n]
void read_int8_keys(const std::byte* from, const float* scale, int head_dim, int first_row, int n, float* k) {
  constexpr int kRows = rows_per_page(KvType::int8);
  for (int group = 0; group < head_dim / 4; ++group) {
    for (int r = 0; r < n; ++r) {
      const uint32_t codes = word(from, static_cast<size_t>(group) * kRows + first_row + r);
      float* out = k + static_cast<size_t>(r) * head_dim + 4 * static_cast<size_t>(group);
      for (int i = 0; i < 4; ++i)
        out[i] = static_cast<float>(static_cast<int>((codes >> (8 * i)) & 255U) - 128) * scale[r];
    }
  }
}

// Rows lie in fours, channel by channel. scale: [n]
void read_int8_values(const std::byte* from, const float* scale, int head_dim, int first_row, int n,
                      float* v) {
  for (int r = 0; r < n; ++r) {
    const int row = first_row + r;
    const std::byte* four = from + static_cast<size_t>(row / 4) * head_dim * 4 + row % 4;
    for (int d = 0; d < head_dim; ++d) {
      v[static_cast<size_t>(r) * head_dim + d] =
          static_cast<float>(static_cast<int8_t>(four[4 * static_cast<size_t>(d)])) * scale[r];
    }
  }
}

}  // namespace

void read_rows(const PageRef& page, KvType type, int head_dim, int first_row, int n, float* k, float* v) {
  assert(first_row >= 0 && n >= 0 && first_row + n <= rows_per_page(type, head_dim));
  const std::byte* keys = page.payload;
  const std::byte* values = page.payload + value_offset_bytes(head_dim);
  const size_t first = static_cast<size_t>(first_row) * head_dim;
  switch (type) {
    case KvType::f32:
      if (k != nullptr) read_f32_keys(keys, head_dim, first_row, n, k);
      if (v != nullptr) std::memcpy(v, values + first * sizeof(float), sizeof(float) * n * head_dim);
      break;
    case KvType::bf16:
      if (k != nullptr) read_bf16_keys(keys, head_dim, first_row, n, k);
      if (v != nullptr) read_bf16_values(values, head_dim, first_row, n, v);
      break;
    case KvType::int8: {
      const float* scales = page.side + first_row;
      if (k != nullptr) read_int8_keys(keys, scales, head_dim, first_row, n, k);
      if (v != nullptr) read_int8_values(values, scales + rows_per_page(type), head_dim, first_row, n, v);
      break;
    }
    case KvType::q8:
    case KvType::q4:
    case KvType::q2:
      read_quantized_rows(page, type, head_dim, first_row, n, k, v);
      break;
  }
}

}  // namespace fastcache::kv
