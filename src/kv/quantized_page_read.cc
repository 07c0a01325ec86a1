// SPDX-License-Identifier: Apache-2.0
#include <cassert>
#include <cstring>
#include <type_traits>

#include "kv/quantized_page.h"

namespace fastcache::kv {
namespace {

template <class T>
T get(const std::byte* base, size_t index) {
  T value;
  std::memcpy(&value, base + index * sizeof(T), sizeof(T));
  return value;
}

template <int bits>
void read_keys(const std::byte* page, const QuantizedLayout& layout, int first_row, int n, float* k) {
  constexpr int kWord = 32 / bits;
  for (int w = 0; w < layout.head_dim / kWord; ++w) {
    float scale[kWord], offset[kWord];
    for (int i = 0; i < kWord; ++i) {
      const auto step = get<QuantStep>(page + layout.channel_steps_at(), w * kWord + i);
      scale[i] = bf16_to_f32(step.scale);
      offset[i] = static_cast<float>(step.zero) / 16;
    }
    for (int r = 0; r < n; ++r) {
      const auto word = get<uint32_t>(page, static_cast<size_t>(w) * layout.rows + first_row + r);
      float* out = k + static_cast<size_t>(r) * layout.head_dim + w * kWord;
      for (int i = 0; i < kWord; ++i) {
        const uint32_t code = (word >> quantized_bit(i, bits, 16)) & ((1U << bits) - 1);
        out[i] = scale[i] * (static_cast<float>(static_cast<int>(code)) + offset[i]);
      }
    }
  }
}

template <int bits>
void read_values(const std::byte* page, const QuantizedLayout& layout, int first_row, int n, float* v) {
  using Word = std::conditional_t<bits == 2, uint16_t, uint32_t>;
  constexpr int kUnit = bits == 8 ? 4 : 8;
  for (int r = 0; r < n; ++r, v += layout.head_dim) {
    const int row = first_row + r;
    const auto step = get<QuantStep>(page + layout.row_steps_at(), row);
    const float scale = bf16_to_f32(step.scale), offset = static_cast<float>(step.zero) / 16;
    const int shift = quantized_bit(row % kUnit, bits, kUnit * bits / 2);
    const std::byte* words =
        page + layout.values_at() + static_cast<size_t>(row / kUnit) * layout.head_dim * sizeof(Word);
    for (int d = 0; d < layout.head_dim; ++d) {
      const uint32_t code = (get<Word>(words, d) >> shift) & ((1U << bits) - 1);
      v[d] = scale * (static_cast<float>(static_cast<int>(code)) + offset);
    }
  }
}

}  // namespace

void read_quantized_rows(const PageRef& page, KvType type, int head_dim, int first_row, int n, float* k,
                         float* v) {
  const QuantizedLayout layout = quantized_layout(type, head_dim);
  assert(is_quantized(type) && first_row >= 0 && first_row + n <= layout.rows);
  by_bits(layout.bits, [&]<int bits>() {
    if (k != nullptr) read_keys<bits>(page.payload, layout, first_row, n, k);
    if (v != nullptr) read_values<bits>(page.payload, layout, first_row, n, v);
  });
}

}  // namespace fastcache::kv
