// SPDX-License-Identifier: Apache-2.0
// The plain C++ kernels: the definition of the arithmetic, and the path of CPUs without AVX2.
#include <bit>
#include <cmath>
#include <cstring>

#include "base/bf16.h"
#include "linear/gate_math.h"
#include "linear/kernels.h"

namespace fastcache::linear {
namespace {

constexpr int kGroups = kBlockChannels / 4;

struct Block {
  float scales[2 * kStripColumns];
  float mins[2 * kStripColumns];
  uint8_t codes[kGroups][kStripColumns * 4];
};

template <bool kHalf>
void load_scales(const std::byte* from, int n, float* to) {
  for (int i = 0; i < n; ++i) {
    if constexpr (kHalf) {
      uint16_t half;
      std::memcpy(&half, from + i * 2, 2);
      to[i] = f16_to_f32(half);
    } else {
      std::memcpy(to + i, from + i * 4, 4);
    }
  }
}

template <FormatId kId>
void load_block(const std::byte* record, Block& block) {
  constexpr Format kFormat = format_of(kId);
  load_scales<kFormat.half_scales>(record, kFormat.sub_blocks * kStripColumns, block.scales);
  if constexpr (kFormat.has_min) {
    load_scales<kFormat.half_scales>(record + kFormat.scale_bytes(), kFormat.sub_blocks * kStripColumns,
                                     block.mins);
  }
  const auto* codes = reinterpret_cast<const uint8_t*>(record + kFormat.codes_offset());
  if constexpr (kFormat.codes == Codes::u8) {
    std::memcpy(block.codes, codes, sizeof block.codes);
  } else {
    for (int pair = 0; pair < kGroups / 2; ++pair) {
      for (int i = 0; i < kStripColumns * 4; ++i) {
        block.codes[2 * pair][i] = codes[pair * 64 + i] & 15;
        block.codes[2 * pair + 1][i] = codes[pair * 64 + i] >> 4;
      }
    }
  }
}

// dot[column] += codes * activations over `n_groups` groups of 4 channels.
void add_dots(const uint8_t (*codes)[kStripColumns * 4], const int8_t* x, int n_groups, int32_t* dot) {
  for (int g = 0; g < n_groups; ++g, x += 4) {
    for (int column = 0; column < kStripColumns; ++column) {
      const uint8_t* c = codes[g] + column * 4;
      dot[column] += c[0] * x[0] + c[1] * x[1] + c[2] * x[2] + c[3] * x[3];
    }
  }
}

void write_rows(const TileArgs& args, const float (*sums)[kStripColumns]) {
  for (int r = 0; r < args.n_rows; ++r) {
    const size_t at = static_cast<size_t>(r) * args.out_stride;
    for (int column = 0; column < kStripColumns; ++column) {
      const float sum = sums[r][column];
      args.out[at + column] = args.residual != nullptr ? args.residual[at + column] + sum : sum;
    }
  }
}

template <FormatId kId>
void quantised_tile(const TileArgs& args) {
  constexpr Format kFormat = format_of(kId);
  constexpr int kSubs = kFormat.sub_blocks;
  float sums[kTileRows][kStripColumns] = {};
  Block block;
  for (int b = 0; b < args.n_blocks; ++b) {
    load_block<kId>(args.strip + kFormat.record_bytes() * static_cast<size_t>(b), block);
    for (int r = 0; r < args.n_rows; ++r) {
      const QuantizedRecord& x = args.input.records[b];
      float* out = sums[r];
      for (int sub = 0; sub < kSubs; ++sub) {
        const size_t at = (static_cast<size_t>(b) * kSubs + sub) * kTileRows + r;
        int32_t dot[kStripColumns] = {};
        add_dots(block.codes + sub * kGroups / kSubs, x.codes[r] + sub * kBlockChannels / kSubs,
                 kGroups / kSubs, dot);
        for (int column = 0; column < kStripColumns; ++column) {
          if constexpr (!kFormat.has_min) {
            dot[column] += args.input.negative_sums[kSubs - 1][at] * (1 << kFormat.offset_shift);
          }
          const float factor = block.scales[sub * kStripColumns + column] * x.scales[r];
          out[column] = std::fma(static_cast<float>(dot[column]), factor, out[column]);
          if constexpr (kFormat.has_min) {
            out[column] = std::fma(block.mins[sub * kStripColumns + column],
                                   args.input.scaled_sums[kSubs - 1][at], out[column]);
          }
        }
      }
    }
  }
  write_rows(args, sums);
}

template <Codes kCodes>
float load_weight(const std::byte* from) {
  if constexpr (kCodes == Codes::f32) {
    float value;
    std::memcpy(&value, from, 4);
    return value;
  } else {
    uint16_t half;
    std::memcpy(&half, from, 2);
    return kCodes == Codes::f16 ? f16_to_f32(half) : bf16_to_f32(half);
  }
}

template <Codes kCodes>
void load_input(const ActivationTile& input, int block, int row, float* to) {
  const size_t first = (static_cast<size_t>(block) * kTileRows + row) * kBlockChannels;
  for (size_t i = 0; i < kBlockChannels; ++i) {
    to[i] = kCodes == Codes::bf16 ? bf16_to_f32(input.rounded[first + i]) : input.values[first + i];
  }
}

template <FormatId kId>
void float_tile(const TileArgs& args) {
  constexpr Format kFormat = format_of(kId);
  constexpr size_t kBytes = kFormat.codes == Codes::f32 ? 4 : 2;
  float sums[kTileRows][kStripColumns] = {};
  float weights[kBlockChannels * kStripColumns];
  for (int b = 0; b < args.n_blocks; ++b) {
    const std::byte* record = args.strip + kFormat.record_bytes() * static_cast<size_t>(b);
    for (int i = 0; i < kBlockChannels * kStripColumns; ++i) {
      const size_t at = float_index(kFormat.codes, i / kStripColumns, i % kStripColumns);
      weights[i] = load_weight<kFormat.codes>(record + at * kBytes);
    }
    for (int r = 0; r < args.n_rows; ++r) {
      float x[kBlockChannels];
      load_input<kFormat.codes>(args.input, b, r, x);
      float part[kStripColumns] = {};
      for (int i = 0; i < kBlockChannels; ++i) {
        const float* w = weights + i * kStripColumns;
        for (int column = 0; column < kStripColumns; ++column)
          part[column] = std::fma(w[column], x[i], part[column]);
      }
      for (int column = 0; column < kStripColumns; ++column) sums[r][column] += part[column];
    }
  }
  write_rows(args, sums);
}

// Symmetric, scale = max |x| / 127, round to nearest even. The maximum is taken over the bits, so that a NaN
// or an infinity ends up in the scale and stays visible in the outputs. Blocks below 1e-30 count as zero.
void quantize_block(const float* x, int block, const QuantizedSlots& out) {
  uint32_t max_bits = 0;
  for (int i = 0; i < kBlockChannels; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]) & 0x7fffffffU;
    max_bits = bits > max_bits ? bits : max_bits;
  }
  const bool zero = max_bits < std::bit_cast<uint32_t>(1e-30F);
  const float max = std::bit_cast<float>(max_bits);
  const float inverse = zero ? 0.0F : 127.0F / max;
  int sums[2] = {0, 0};
  for (int i = 0; i < kBlockChannels; ++i) {
    const float scaled = x[i] * inverse;
    // What the vector conversion makes of a NaN (or of an infinity, whose product with 1 / infinity is one):
    // INT_MIN.
    const int code =
        scaled > -128.0F && scaled < 128.0F ? static_cast<int>((scaled + kRoundMagic) - kRoundMagic) : -128;
    out.records[block].codes[out.row][i] = static_cast<int8_t>(code);
    sums[i / 16] += code;
  }
  store_block_scale(out, block, zero ? 0.0F : max / 127.0F, sums[0], sums[1]);
}

void quantize(const float* x, int n_blocks, const QuantizedSlots& out) {
  for (int b = 0; b < n_blocks; ++b) quantize_block(x + b * kBlockChannels, b, out);
}

void round_block(const float* x, bf16_t* out) {
  for (int i = 0; i < kBlockChannels; ++i) out[i] = round_activation(x[i]);
}

void round(const float* x, int n_blocks, bf16_t* out) {
  for (int b = 0; b < n_blocks; ++b, x += kBlockChannels, out += kTileRows * kBlockChannels)
    round_block(x, out);
}

float exp_portable(float x) {
  x = x < kExpMax ? x : kExpMax;
  x = x > kExpMin ? x : kExpMin;
  const float shifted = std::fma(x, kLog2E, kRoundMagic);
  const float n = shifted - kRoundMagic;
  float r = std::fma(n, kMinusLn2High, x);
  r = std::fma(n, kMinusLn2Low, r);
  float p = std::fma(kExp5, r, kExp4);
  p = std::fma(p, r, kExp3);
  p = std::fma(p, r, kExp2);
  p = std::fma(p, r, kExp1);
  p = std::fma(p, r, kExp0);
  p = std::fma(p, r * r, r) + 1.0F;
  const uint32_t power = (std::bit_cast<uint32_t>(shifted) + 127U) << 23;  // 2^n
  return p * std::bit_cast<float>(power);
}

void gate_up(Gate kind, const float* gate, const float* up, int n, float* out) {
  for (int i = 0; i < n; ++i) {
    const float x = gate[i];
    const float z = kind == Gate::silu ? x : x * std::fma(x * x, kGeluCubic, kGeluLinear);
    out[i] = x / (1.0F + exp_portable(-z)) * up[i];
  }
}

void gate_tile(const GateTileArgs& args) {
  for (int r = 0; r < args.n_rows; ++r) {
    float channels[kBlockChannels];
    for (int i = 0; i < 2; ++i) {
      const int at = (i * kTileRows + r) * kStripColumns;
      gate_up(args.kind, args.gate + at, args.up + at, kStripColumns, channels + i * kStripColumns);
    }
    if (args.values != nullptr) std::memcpy(args.values + r * kBlockChannels, channels, sizeof channels);
    if (args.rounded != nullptr) round_block(channels, args.rounded + r * kBlockChannels);
    if (args.slots != nullptr) {
      QuantizedSlots slots = *args.slots;
      slots.row = r;
      quantize_block(channels, 0, slots);
    }
  }
}

}  // namespace

constinit const KernelTable kPortableKernels{
    Isa::portable,
    {quantised_tile<FormatId::q4_0>, quantised_tile<FormatId::q4_1>, quantised_tile<FormatId::q5_0>,
     quantised_tile<FormatId::q5_1>, quantised_tile<FormatId::q8_0>, quantised_tile<FormatId::q2_k>,
     quantised_tile<FormatId::q3_k>, quantised_tile<FormatId::q4_k>, quantised_tile<FormatId::q5_k>,
     quantised_tile<FormatId::q6_k>, float_tile<FormatId::f16>, float_tile<FormatId::bf16>,
     float_tile<FormatId::f32>},
    quantize,
    round,
    gate_up,
    gate_tile};

}  // namespace fastcache::linear
