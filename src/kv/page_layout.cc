// SPDX-License-Identifier: Apache-2.0
// Loops here are written so that the compiler vectorises the conversions at the baseline (SSE2); there is one
// path, so the bits are the same on every machine. The scattered stores of K fall into cache lines that 8 to
// 32 rows share.
#include "kv/page_layout.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

#include "base/bf16.h"
#include "base/error.h"

namespace fastcache::kv {
namespace {

constexpr KvType kTypes[] = {KvType::f32, KvType::bf16, KvType::int8};
constexpr int kTile = 16;  // channels converted at a time: head_dim is a multiple of it
constexpr int kInt8Rows = rows_per_page(KvType::int8);
constexpr float kLargest = 3.4e38f;  // of what int8 rows scale to: 127 * (kLargest / 127) is still finite

struct Sides {  // of one page
  std::byte* k;
  std::byte* v;
};

Sides sides(const PageRef& page, int head_dim) {
  return {page.payload, page.payload + value_offset_bytes(head_dim)};
}

template <class T>
void put(std::byte* base, size_t index, T value) {
  std::memcpy(base + index * sizeof(T), &value, sizeof(T));
}

template <class T>
T get(const std::byte* base, size_t index) {
  T value;
  std::memcpy(&value, base + index * sizeof(T), sizeof(T));
  return value;
}

// Places of channel d of a row: the whole of the layout is in these six functions.
size_t f32_k(int d, int row, int) { return static_cast<size_t>(d) * 8 + row; }
size_t f32_v(int d, int row, int head_dim) { return static_cast<size_t>(row) * head_dim + d; }
size_t bf16_k(int d, int row, int) { return static_cast<size_t>(d / 2) * 32 + row * 2 + d % 2; }
size_t bf16_v(int d, int row, int head_dim) {
  return (static_cast<size_t>(row / 2) * head_dim + d) * 2 + row % 2;
}
size_t int8_k(int d, int row, int) { return static_cast<size_t>(d / 4) * 128 + row * 4 + d % 4; }
size_t int8_v(int d, int row, int head_dim) { return static_cast<size_t>(row) * head_dim + d; }

void write_f32(const Sides& at, int head_dim, int row, const float* k, const float* v) {
  for (int d = 0; d < head_dim; ++d) put(at.k, f32_k(d, row, head_dim), k[d]);
  std::memcpy(at.v + f32_v(0, row, head_dim) * sizeof(float), v, head_dim * sizeof(float));
}

// f32_to_bf16 without a branch, widened to 32 bits: the same bits.
uint32_t round_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const bool nan = static_cast<int32_t>(bits & 0x7fffffffU) > 0x7f800000;
  return nan ? (bits >> 16) | 0x40U : rounded;
}

void write_bf16(const Sides& at, int head_dim, int row, const float* k, const float* v) {
  const uint32_t other = row % 2 == 0 ? 0xffff0000U : 0x0000ffffU;  // the half that the neighbour row has
  const int shift = row % 2 == 0 ? 0 : 16;
  for (int first = 0; first < head_dim; first += kTile) {
    uint32_t code[kTile];
    for (int i = 0; i < kTile; ++i) code[i] = round_to_bf16(k[first + i]);
    for (int i = 0; i < kTile; i += 2)
      put(at.k, bf16_k(first + i, row, head_dim) / 2, code[i] | (code[i + 1] << 16));
    std::byte* pairs = at.v + bf16_v(first, row & ~1, head_dim) * sizeof(bf16_t);
    uint32_t pair[kTile];
    std::memcpy(pair, pairs, sizeof(pair));
    for (int i = 0; i < kTile; ++i) pair[i] = (pair[i] & other) | (round_to_bf16(v[first + i]) << shift);
    std::memcpy(pairs, pair, sizeof(pair));
  }
}

// The largest finite magnitude, by the order of the bits.
float largest_magnitude(const float* x, int n) {
  int32_t largest = 0;
  for (int i = 0; i < n; ++i) {
    const int32_t magnitude = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
    largest = std::max(largest, magnitude < 0x7f800000 ? magnitude : 0);
  }
  return std::min(std::bit_cast<float>(largest), kLargest);
}

// NaN becomes 0, what is infinite becomes the row's largest. A row whose scale would be subnormal counts as
// zeros.
struct Int8Scale {
  explicit Int8Scale(float largest) {
    constexpr float kSmallestNormal = 0x1p-126f;
    scale = largest / 127.0f;
    inverse = scale < kSmallestNormal ? 0.0f : 127.0f / largest;
    if (inverse == 0.0f) scale = 0.0f;
  }
  float scale = 0.0f;
  float inverse = 0.0f;
};

// Round to nearest even, [-127, 127].
int32_t to_code(float x, float inverse) {
  const float zero_if_nan = x == x ? x : 0.0f;
  const float finite = std::max(std::min(zero_if_nan, kLargest), -kLargest);
  const float scaled = std::max(std::min(finite * inverse, 127.0f), -127.0f);
  return std::bit_cast<int32_t>(scaled + 0x1.8p23f) - std::bit_cast<int32_t>(0x1.8p23f);
}

void write_int8(const PageRef& page, const Sides& at, int head_dim, int row, const float* k, const float* v) {
  const Int8Scale k_scale{largest_magnitude(k, head_dim)};
  const Int8Scale v_scale{largest_magnitude(v, head_dim)};
  page.side[row] = k_scale.scale;
  page.side[kInt8Rows + row] = v_scale.scale;
  for (int first = 0; first < head_dim; first += kTile) {
    uint32_t code[kTile];
    for (int i = 0; i < kTile; ++i)
      code[i] = static_cast<uint32_t>(to_code(k[first + i], k_scale.inverse) + 128);
    for (int i = 0; i < kTile; i += 4)
      put(at.k, int8_k(first + i, row, head_dim) / 4,
          code[i] | (code[i + 1] << 8) | (code[i + 2] << 16) | (code[i + 3] << 24));
    int8_t value[kTile];
    for (int i = 0; i < kTile; ++i) value[i] = static_cast<int8_t>(to_code(v[first + i], v_scale.inverse));
    std::memcpy(at.v + int8_v(first, row, head_dim), value, sizeof(value));
  }
}

// Moves channels of width T between rows; size_t place(d, row, head_dim).
template <class T, class Place>
void copy_channels(const std::byte* from, int from_row, std::byte* to, int to_row, int head_dim,
                   Place place) {
  for (int d = 0; d < head_dim; ++d)
    put(to, place(d, to_row, head_dim), get<T>(from, place(d, from_row, head_dim)));
}

// K rows of every type are words of 32 bits, rows_per_page apart.
void copy_k_words(const std::byte* from, int from_row, std::byte* to, int to_row, KvType type, int head_dim) {
  const size_t rows = rows_per_page(type);
  const size_t n_words = value_offset_bytes(head_dim) / sizeof(uint32_t) / rows;
  for (size_t w = 0; w < n_words; ++w) put(to, w * rows + to_row, get<uint32_t>(from, w * rows + from_row));
}

}  // namespace

const char* kv_type_name(KvType type) {
  switch (type) {
    case KvType::f32:
      return "f32";
    case KvType::bf16:
      return "bf16";
    case KvType::int8:
      return "int8";
  }
  return "?";
}

KvType parse_kv_type(const std::string& name) {
  std::string known;
  for (const KvType type : kTypes) {
    if (name == kv_type_name(type)) return type;
    known += known.empty() ? "" : ", ";
    known += kv_type_name(type);
  }
  throw Error{Code::bad_request, fmt::format("KV type '{}' does not exist; there are {}", name, known)};
}

void write_row(const PageRef& page, KvType type, int head_dim, int row, const float* k, const float* v) {
  assert(row >= 0 && row < rows_per_page(type) && head_dim % kTile == 0);
  const Sides at = sides(page, head_dim);
  switch (type) {
    case KvType::f32:
      return write_f32(at, head_dim, row, k, v);
    case KvType::bf16:
      return write_bf16(at, head_dim, row, k, v);
    case KvType::int8:
      return write_int8(page, at, head_dim, row, k, v);
  }
}

void read_row(const PageRef& page, KvType type, int head_dim, int row, float* k, float* v) {
  assert(row >= 0 && row < rows_per_page(type));
  const Sides at = sides(page, head_dim);
  for (int d = 0; k != nullptr && d < head_dim; ++d) {
    switch (type) {
      case KvType::f32:
        k[d] = get<float>(at.k, f32_k(d, row, head_dim));
        break;
      case KvType::bf16:
        k[d] = bf16_to_f32(get<bf16_t>(at.k, bf16_k(d, row, head_dim)));
        break;
      case KvType::int8:
        k[d] = static_cast<float>(get<uint8_t>(at.k, int8_k(d, row, head_dim)) - 128) * page.side[row];
        break;
    }
  }
  for (int d = 0; v != nullptr && d < head_dim; ++d) {
    switch (type) {
      case KvType::f32:
        v[d] = get<float>(at.v, f32_v(d, row, head_dim));
        break;
      case KvType::bf16:
        v[d] = bf16_to_f32(get<bf16_t>(at.v, bf16_v(d, row, head_dim)));
        break;
      case KvType::int8:
        v[d] = static_cast<float>(get<int8_t>(at.v, int8_v(d, row, head_dim))) * page.side[kInt8Rows + row];
        break;
    }
  }
}

void copy_row(const PageRef& from, int from_row, const PageRef& to, int to_row, KvType type, int head_dim) {
  assert(from_row >= 0 && from_row < rows_per_page(type) && to_row >= 0 && to_row < rows_per_page(type));
  const Sides source = sides(from, head_dim);
  const Sides target = sides(to, head_dim);
  copy_k_words(source.k, from_row, target.k, to_row, type, head_dim);
  switch (type) {
    case KvType::f32:
      copy_channels<float>(source.v, from_row, target.v, to_row, head_dim, f32_v);
      break;
    case KvType::bf16:
      copy_channels<bf16_t>(source.v, from_row, target.v, to_row, head_dim, bf16_v);
      break;
    case KvType::int8:
      std::memmove(target.v + int8_v(0, to_row, head_dim), source.v + int8_v(0, from_row, head_dim),
                   head_dim);
      to.side[to_row] = from.side[from_row];
      to.side[kInt8Rows + to_row] = from.side[kInt8Rows + from_row];
      break;
  }
}

void clear_row(const PageRef& page, KvType type, int head_dim, int row) {
  const Sides at = sides(page, head_dim);
  const size_t rows = rows_per_page(type);
  const size_t n_words = value_offset_bytes(head_dim) / sizeof(uint32_t) / rows;
  for (size_t w = 0; w < n_words; ++w) put(at.k, w * rows + row, uint32_t{0});
  switch (type) {
    case KvType::f32:
      std::memset(at.v + f32_v(0, row, head_dim) * sizeof(float), 0, head_dim * sizeof(float));
      break;
    case KvType::bf16:
      for (int d = 0; d < head_dim; ++d) put(at.v, bf16_v(d, row, head_dim), bf16_t{0});
      break;
    case KvType::int8:
      std::memset(at.v + int8_v(0, row, head_dim), 0, head_dim);
      page.side[row] = 0.0f;
      page.side[kInt8Rows + row] = 0.0f;
      break;
  }
}

}  // namespace fastcache::kv
