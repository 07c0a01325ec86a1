// SPDX-License-Identifier: Apache-2.0
// The portable kernel: plain loops in f32 that a compiler can vectorise. What the others are compared with.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "attention/attention_kernel.h"
#include "base/bf16.h"
#include "kv/quantized_page.h"

namespace fastcache::attention {
namespace {

using kv::KvType;

// Channel c of the K rows of one page (of all slots, where it is quantised), and channels of one V row, as
// floats (int8 without its scale). Codes, less their centre, of up to 64 rows of one channel.
template <KvType type>
void load_codes(const CacheGroup& group, int c, int n, float* rows) {
  const kv::QuantizedLayout layout = kv::quantized_layout(type, group.head_dim);
  constexpr int kBits = kv::element_bits(type), kWord = 32 / kBits;
  const int shift = c % kWord / 2 * kBits + c % 2 * 16;
  const std::byte* words = group.pages[0] + sizeof(uint32_t) * (c / kWord * layout.rows + group.first_row);
  for (int row = 0; row < n; ++row) {
    uint32_t word;
    std::memcpy(&word, words + sizeof(word) * row, sizeof(word));
    rows[row] = static_cast<float>(static_cast<int>((word >> shift) & ((1U << kBits) - 1))) - layout.centre();
  }
}

template <KvType type>
void add_codes(const CacheGroup& group, int slot, float weight, float* acc) {
  using Word = std::conditional_t<type == KvType::q2, uint16_t, uint32_t>;
  const kv::QuantizedLayout layout = kv::quantized_layout(type, group.head_dim);
  constexpr int kBits = kv::element_bits(type), kUnit = type == KvType::q8 ? 4 : 8;
  const int row = group.first_row + slot;
  const int shift = row % kUnit / 2 * kBits + row % 2 * static_cast<int>(sizeof(Word)) * 4;
  const std::byte* words =
      group.pages[0] + layout.values_at() + sizeof(Word) * (row / kUnit) * group.head_dim;
  for (int c = 0; c < group.head_dim; ++c) {
    Word word;
    std::memcpy(&word, words + sizeof(Word) * c, sizeof(Word));
    const int code = (word >> shift) & ((1 << kBits) - 1);
    acc[c] += weight * (static_cast<float>(code) - layout.centre());
  }
}

template <KvType type>
void load_k(const std::byte* page, int c, float* rows) {
  if constexpr (type == KvType::f32) {
    const float* k = reinterpret_cast<const float*>(page) + c * 8;
    for (int row = 0; row < 8; ++row) rows[row] = k[row];
  } else if constexpr (type == KvType::bf16) {
    const bf16_t* k = reinterpret_cast<const bf16_t*>(page) + c / 2 * 32 + c % 2;
    for (int row = 0; row < 16; ++row) rows[row] = bf16_to_f32(k[2 * row]);
  } else {
    const uint8_t* k = reinterpret_cast<const uint8_t*>(page) + c / 4 * 128 + c % 4;
    for (int row = 0; row < 32; ++row) rows[row] = static_cast<float>(k[4 * row] - 128);
  }
}

template <KvType type>
void add_v(const std::byte* page, int head_dim, int row, float weight, float* acc) {
  const std::byte* values = page + kv::value_offset_bytes(head_dim);
  if constexpr (type == KvType::f32) {
    const float* v = reinterpret_cast<const float*>(values) + row * head_dim;
    for (int c = 0; c < head_dim; ++c) acc[c] += weight * v[c];
  } else if constexpr (type == KvType::bf16) {
    const bf16_t* v = reinterpret_cast<const bf16_t*>(values) + row / 2 * 2 * head_dim + row % 2;
    for (int c = 0; c < head_dim; ++c) acc[c] += weight * bf16_to_f32(v[2 * c]);
  } else {
    const int8_t* v = reinterpret_cast<const int8_t*>(values) + row / 4 * 4 * head_dim + row % 4;
    for (int c = 0; c < head_dim; ++c) acc[c] += weight * static_cast<float>(v[4 * c]);
  }
}

template <KvType type>
void find_scores(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]) {
  constexpr int page_rows = kv::rows_per_page(type);
  const float* q = static_cast<const float*>(block.q);
  for (int entry = 0; entry < block.n_entries; ++entry) {
    float k[page_rows];
    for (int row = 0; row < block.n_rows; ++row)
      std::fill_n(scores[row] + entry * page_rows, page_rows, 0.0f);
    for (int c = 0; c < group.head_dim; ++c) {
      load_k<type>(group.pages[entry], c, k);
      for (int row = 0; row < block.n_rows; ++row) {
        float* score = scores[row] + entry * page_rows;
        const float x = q[row * group.head_dim + c];
        for (int i = 0; i < page_rows; ++i) score[i] += x * k[i];
      }
    }
  }
}

// K = scale * (code - centre) + offset, channel by channel: scale goes into q, the offsets are one number.
template <KvType type>
void find_quantized_scores(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]) {
  const kv::QuantizedLayout layout = kv::quantized_layout(type, group.head_dim);
  const float* q = static_cast<const float*>(block.q);
  float offset[kBlockRows] = {}, k[kGroupRows];
  for (int row = 0; row < block.n_rows; ++row) std::fill_n(scores[row], block.n_slots, 0.0f);
  for (int c = 0; c < group.head_dim; ++c) {
    kv::QuantStep step;
    std::memcpy(&step, group.pages[0] + layout.channel_steps_at() + sizeof(step) * c, sizeof(step));
    const float zero = static_cast<float>(step.zero) / 16 + layout.centre();
    load_codes<type>(group, c, block.n_slots, k);
    for (int row = 0; row < block.n_rows; ++row) {
      const float x = q[row * group.head_dim + c] * bf16_to_f32(step.scale);
      offset[row] += x * zero;
      for (int i = 0; i < block.n_slots; ++i) scores[row][i] += x * k[i];
    }
  }
  for (int row = 0; row < block.n_rows; ++row)
    for (int i = 0; i < block.n_slots; ++i) scores[row][i] += offset[row];
}

float final_score(const CacheGroup& group, float score, int slot) {
  if (group.k_factor != nullptr) score *= group.k_factor[slot];
  if (group.softcap > 0) score = group.softcap * (1.0f - 2.0f / (1.0f + std::exp2(score)));  // tanh
  if (group.bias != nullptr) score += group.bias[slot];
  return score;
}

// The running maximum and everything that is relative to it.
void raise_max(const CacheGroup& group, const QueryBlock& block, int row, float to) {
  const float factor = std::exp2(block.max[row] - to);
  block.max[row] = to;
  for (int lane = 0; lane < kLanes; ++lane) block.lane_sum[row * kLanes + lane] *= factor;
  for (int c = 0; c < group.head_dim; ++c) block.acc[row * group.head_dim + c] *= factor;
}

template <KvType type>
void step(const CacheGroup& group, const QueryBlock& block) noexcept {
  float scores[kBlockRows][kGroupRows];
  if constexpr (kv::is_quantized(type))
    find_quantized_scores<type>(group, block, scores);
  else
    find_scores<type>(group, block, scores);
  for (int row = 0; row < block.n_rows; ++row) {
    const uint64_t visible = block.visible == nullptr ? ~uint64_t{0} : block.visible[row];
    float max = kNoScore;
    for (uint64_t bits = visible; bits != 0; bits &= bits - 1) {
      const int slot = std::countr_zero(bits);
      scores[row][slot] = final_score(group, scores[row][slot], slot);
      max = std::max(max, scores[row][slot]);
    }
    if (max > block.max[row] + kRaiseAbove) raise_max(group, block, row, max);
    [[maybe_unused]] float offset = 0.0f;
    for (uint64_t bits = visible; bits != 0; bits &= bits - 1) {
      const int slot = std::countr_zero(bits);
      float weight = std::exp2(scores[row][slot] - block.max[row]);
      block.lane_sum[row * kLanes + slot % kLanes] += weight;
      float* acc = block.acc + row * group.head_dim;
      if constexpr (kv::is_quantized(type)) {
        offset += weight * group.v_offset[slot];
        add_codes<type>(group, slot, weight * group.v_factor[slot], acc);
      } else {
        constexpr int page_rows = kv::rows_per_page(type);
        if (group.v_factor != nullptr) weight *= group.v_factor[slot];
        add_v<type>(group.pages[slot / page_rows], group.head_dim, slot % page_rows, weight, acc);
      }
    }
    if constexpr (kv::is_quantized(type)) {
      for (int c = 0; c < group.head_dim; ++c) block.acc[row * group.head_dim + c] += offset;
    }
  }
}

void fold(float* total, float total_factor, const float* part, float part_factor, int n) noexcept {
  for (int i = 0; i < n; ++i) total[i] = total[i] * total_factor + part[i] * part_factor;
}

}  // namespace

void pack_plain(const float* rows, int n_rows, int head_dim, void* packed) noexcept {
  std::copy_n(rows, n_rows * head_dim, static_cast<float*>(packed));
}

template <kv::KvType type>
void step_quantized(const CacheGroup& group, const QueryBlock& block) noexcept {
  step<type>(group, block);
}
template void step_quantized<KvType::q8>(const CacheGroup&, const QueryBlock&) noexcept;
template void step_quantized<KvType::q4>(const CacheGroup&, const QueryBlock&) noexcept;
template void step_quantized<KvType::q2>(const CacheGroup&, const QueryBlock&) noexcept;

constinit const AttentionKernel kAttentionCpu{
    .name = "cpu",
    .isa = Isa::portable,
    .pack = {pack_plain, pack_plain, pack_plain, pack_plain, pack_plain, pack_plain},
    .step = {step<KvType::f32>, step<KvType::bf16>, step<KvType::int8>, step<KvType::q8>, step<KvType::q4>,
             step<KvType::q2>},
    .fold = fold,
};

}  // namespace fastcache::attention
