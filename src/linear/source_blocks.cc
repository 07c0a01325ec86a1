// SPDX-License-Identifier: Apache-2.0
// Block layouts of GGUF's quantised types. Byte offsets are those of the public format (ggml-common.h of the
// pinned source); every field is read by memcpy, since rows of a mapped file need not be aligned.
#include "linear/source_blocks.h"

#include <ggml.h>

#include <array>
#include <cstring>

#include "base/bf16.h"

namespace fastcache::linear {
namespace {

uint8_t u8(const std::byte* p) { return static_cast<uint8_t>(*p); }

uint16_t u16(const std::byte* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

uint32_t u32(const std::byte* p) {
  uint32_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

void set_half_scale(const std::byte* p, SourceBlock& out) {
  out.half_scale[0] = u16(p);
  out.scale[0] = f16_to_f32(out.half_scale[0]);
}

void set_half_min(const std::byte* p, SourceBlock& out) {
  out.half_min[0] = u16(p);
  out.min[0] = f16_to_f32(out.half_min[0]);
}

// 32 channels in 16 bytes: channel i in the low nibble of byte i, channel 16 + i in the high one.
void split_nibbles(const std::byte* p, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = u8(p + i) & 15;
    codes[16 + i] = u8(p + i) >> 4;
  }
}

// Bit i of `high` is bit 4 of channel i.
void add_fifth_bit(uint32_t high, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(codes[i] | (((high >> i) & 1U) << 4));
}

void read_q4_0(const std::byte* row, int block, SourceBlock& out) {
  const std::byte* p = row + size_t{18} * block;
  set_half_scale(p, out);
  split_nibbles(p + 2, out.codes);
}

void read_q4_1(const std::byte* row, int block, SourceBlock& out) {
  const std::byte* p = row + size_t{20} * block;
  set_half_scale(p, out);
  set_half_min(p + 2, out);
  split_nibbles(p + 4, out.codes);
}

void read_q5_0(const std::byte* row, int block, SourceBlock& out) {
  const std::byte* p = row + size_t{22} * block;
  set_half_scale(p, out);
  split_nibbles(p + 6, out.codes);
  add_fifth_bit(u32(p + 2), out.codes);
}

void read_q5_1(const std::byte* row, int block, SourceBlock& out) {
  const std::byte* p = row + size_t{24} * block;
  set_half_scale(p, out);
  set_half_min(p + 2, out);
  split_nibbles(p + 8, out.codes);
  add_fifth_bit(u32(p + 4), out.codes);
}

void read_q8_0(const std::byte* row, int block, SourceBlock& out) {
  const std::byte* p = row + size_t{34} * block;
  set_half_scale(p, out);
  for (int i = 0; i < 32; ++i) out.codes[i] = u8(p + 2 + i) ^ 0x80;  // two's complement to offset 128
}

// K-quants: super-blocks of 256 channels. Products of an f16 and a 4-, 6- or 8-bit integer are exact in f32.

// scales[16] (low nibble: scale, high nibble: min, of 16 channels each), codes[64], d, dmin.
// A half of 128 channels has 32 bytes of codes; its run r of 32 channels is bits 2r, 2r + 1 of each byte.
void read_q2_k(const std::byte* row, int block, SourceBlock& out) {
  const std::byte* p = row + size_t{84} * (block / 8);
  const int run = block % 8;
  const float d = f16_to_f32(u16(p + 80)), dmin = f16_to_f32(u16(p + 82));
  for (int half = 0; half < 2; ++half) {
    const uint8_t packed = u8(p + 2 * run + half);
    out.scale[half] = d * static_cast<float>(packed & 15);
    out.min[half] = -(dmin * static_cast<float>(packed >> 4));
  }
  const std::byte* codes = p + 16 + 32 * (run / 4);
  for (int i = 0; i < 32; ++i) out.codes[i] = (u8(codes + i) >> (2 * (run % 4))) & 3;
}

// high[32] (bit r: bit 2 of the codes of run r), codes[64] as in Q2_K, scales[12], d.
// The sixteen 6-bit scales (minus 32): low nibbles in bytes 0..7 (low nibbles first, then high), upper two
// bits in bytes 8..11.
void read_q3_k(const std::byte* row, int block, SourceBlock& out) {
  const std::byte* p = row + size_t{110} * (block / 8);
  const int run = block % 8;
  const float d = f16_to_f32(u16(p + 108));
  for (int half = 0; half < 2; ++half) {
    const int i = 2 * run + half;
    const int low = (u8(p + 96 + i % 8) >> (4 * (i / 8))) & 15;
    const int high = (u8(p + 104 + i % 4) >> (2 * (i / 4))) & 3;
    out.scale[half] = d * static_cast<float>((low | high << 4) - 32);
  }
  const std::byte* codes = p + 32 + 32 * (run / 4);
  for (int i = 0; i < 32; ++i) {
    const int low = (u8(codes + i) >> (2 * (run % 4))) & 3;
    const int high = (u8(p + i) >> run) & 1;
    out.codes[i] = static_cast<uint8_t>(low | high << 2);
  }
}

// Q4_K and Q5_K: 6-bit scale and min number `run` out of 12 bytes.
void read_k4_scale(const std::byte* superblock, int run, SourceBlock& out) {
  const float d = f16_to_f32(u16(superblock)), dmin = f16_to_f32(u16(superblock + 2));
  const std::byte* q = superblock + 4;
  int scale = u8(q + run) & 63, min = 0;
  if (run < 4) {
    min = u8(q + run + 4) & 63;
  } else {
    scale = (u8(q + run + 4) & 15) | (u8(q + run - 4) >> 6) << 4;
    min = (u8(q + run + 4) >> 4) | (u8(q + run) >> 6) << 4;
  }
  out.scale[0] = d * static_cast<float>(scale);
  out.min[0] = -(dmin * static_cast<float>(min));
}

// d, dmin, scales[12], codes[128]: 32 bytes hold run 2j in the low and run 2j + 1 in the high nibbles.
void read_q4_k(const std::byte* row, int block, SourceBlock& out) {
  const std::byte* p = row + size_t{144} * (block / 8);
  const int run = block % 8;
  read_k4_scale(p, run, out);
  const std::byte* codes = p + 16 + 32 * (run / 2);
  for (int i = 0; i < 32; ++i) out.codes[i] = (u8(codes + i) >> (4 * (run % 2))) & 15;
}

// d, dmin, scales[12], high[32] (bit r: bit 4 of the codes of run r), codes[128] as in Q4_K.
void read_q5_k(const std::byte* row, int block, SourceBlock& out) {
  const std::byte* p = row + size_t{176} * (block / 8);
  const int run = block % 8;
  read_k4_scale(p, run, out);
  const std::byte* codes = p + 48 + 32 * (run / 2);
  for (int i = 0; i < 32; ++i) {
    const int low = (u8(codes + i) >> (4 * (run % 2))) & 15;
    const int high = (u8(p + 16 + i) >> run) & 1;
    out.codes[i] = static_cast<uint8_t>(low | high << 4);
  }
}

// low[128], high[64], scales[16] (signed), d. A half of 128 channels has 64 low and 32 high bytes; its run r
// takes low nibbles (r < 2) or high nibbles (r >= 2) of low bytes 32 (r % 2) .. + 31, and bits 2r, 2r + 1 of
// the high bytes.
void read_q6_k(const std::byte* row, int block, SourceBlock& out) {
  const std::byte* p = row + size_t{210} * (block / 8);
  const int run = block % 8;
  const float d = f16_to_f32(u16(p + 208));
  for (int half = 0; half < 2; ++half) {
    out.scale[half] = d * static_cast<float>(static_cast<int8_t>(u8(p + 192 + 2 * run + half)));
  }
  const std::byte* low = p + 64 * (run / 4) + 32 * (run % 2);
  const std::byte* high = p + 128 + 32 * (run / 4);
  for (int i = 0; i < 32; ++i) {
    const int low_bits = (u8(low + i) >> (run % 4 < 2 ? 0 : 4)) & 15;
    const int high_bits = (u8(high + i) >> (2 * (run % 4))) & 3;
    out.codes[i] = static_cast<uint8_t>(low_bits | high_bits << 4);
  }
}

constexpr std::array kSourceTypes{
    SourceType{GGML_TYPE_Q4_0, "Q4_0", FormatId::q4_0, 32, 18, read_q4_0},
    SourceType{GGML_TYPE_Q4_1, "Q4_1", FormatId::q4_1, 32, 20, read_q4_1},
    SourceType{GGML_TYPE_Q5_0, "Q5_0", FormatId::q5_0, 32, 22, read_q5_0},
    SourceType{GGML_TYPE_Q5_1, "Q5_1", FormatId::q5_1, 32, 24, read_q5_1},
    SourceType{GGML_TYPE_Q8_0, "Q8_0", FormatId::q8_0, 32, 34, read_q8_0},
    SourceType{GGML_TYPE_Q2_K, "Q2_K", FormatId::q2_k, 256, 84, read_q2_k},
    SourceType{GGML_TYPE_Q3_K, "Q3_K", FormatId::q3_k, 256, 110, read_q3_k},
    SourceType{GGML_TYPE_Q4_K, "Q4_K", FormatId::q4_k, 256, 144, read_q4_k},
    SourceType{GGML_TYPE_Q5_K, "Q5_K", FormatId::q5_k, 256, 176, read_q5_k},
    SourceType{GGML_TYPE_Q6_K, "Q6_K", FormatId::q6_k, 256, 210, read_q6_k},
    SourceType{GGML_TYPE_F16, "F16", FormatId::f16, 1, 2, nullptr},
    SourceType{GGML_TYPE_BF16, "BF16", FormatId::bf16, 1, 2, nullptr},
    SourceType{GGML_TYPE_F32, "F32", FormatId::f32, 1, 4, nullptr},
};
static_assert(kSourceTypes.size() == kFormatCount);

}  // namespace

const SourceType* find_source_type(int ggml_type) {
  for (const SourceType& type : kSourceTypes) {
    if (type.ggml_type == ggml_type) return &type;
  }
  return nullptr;
}

}  // namespace fastcache::linear
