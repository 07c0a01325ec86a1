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
#include "kv/int8_row.h"
#include "kv/quantized_page.h"

namespace fastcache::kv {
namespace {

constexpr KvType kOwnTypes[] = {KvType::f32, KvType::bf16, KvType::int8};
constexpr int kTile = 64;  // channels converted at a time, at most
constexpr int kInt8Rows = rows_per_page(KvType::int8);

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
size_t int8_v(int d, int row, int head_dim) {
  return (static_cast<size_t>(row / 4) * head_dim + d) * 4 + row % 4;
}

void write_f32(const Sides& at, int head_dim, int row, const float* k, const float* v) {
  for (int d = 0; d < head_dim; ++d) put(at.k, f32_k(d, row, head_dim), k[d]);
  std::memcpy(at.v + f32_v(0, row, head_dim) * sizeof(float), v, head_dim * sizeof(float));
}

// f32_to_bf16 without a branch, widened to 32 bits: the same bits.
uint32_t round_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t nan = all_ones_if_nan(x);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  return (rounded & ~nan) | (((bits >> 16) | 0x40U) & nan);
}

// Loops of a length that the compiler does not know are vectorised; of 16 rounds they would be unrolled
// instead.
void write_bf16(const Sides& at, int head_dim, int row, const float* k, const float* v) {
  for (int first = 0; first < head_dim; first += kTile) {
    const int n = std::min(kTile, head_dim - first);
    uint32_t code[kTile];
    for (int i = 0; i < n; ++i) code[i] = round_to_bf16(k[first + i]);
    for (int i = 0; i < n; i += 2)
      put(at.k, bf16_k(first + i, row, head_dim) / 2, code[i] | (code[i + 1] << 16));
    // Two bytes at a time: the other row of the pair may be another thread's.
    std::byte* pairs = at.v + bf16_v(first, row, head_dim) * sizeof(bf16_t);
    for (int i = 0; i < n; ++i) code[i] = round_to_bf16(v[first + i]);
    for (int i = 0; i < n; ++i) put(pairs, 2 * i, static_cast<bf16_t>(code[i]));
  }
}

void write_int8(const PageRef& page, const Sides& at, int head_dim, int row, const float* k, const float* v) {
  const Int8Row k_row{k, head_dim};
  const Int8Row v_row{v, head_dim};
  page.side[row] = k_row.scale;
  page.side[kInt8Rows + row] = v_row.scale;
  for (int first = 0; first < head_dim; first += kTile) {
    const int n = std::min(kTile, head_dim - first);
    int32_t code[kTile];
    for (int i = 0; i < n; ++i) code[i] = k_row.code(k[first + i]) + 128;
    for (int i = 0; i < n; i += 4)
      put(at.k, int8_k(first + i, row, head_dim) / 4,
          static_cast<uint32_t>(code[i] | (code[i + 1] << 8) | (code[i + 2] << 16)) |
              (static_cast<uint32_t>(code[i + 3]) << 24));
    // A byte at a time: the other rows of the four may be other threads'.
    std::byte* fours = at.v + int8_v(first, row, head_dim);
    for (int i = 0; i < n; ++i) code[i] = v_row.code(v[first + i]);
    for (int i = 0; i < n; ++i) put(fours, 4 * i, static_cast<int8_t>(code[i]));
  }
}

// Decodes into out [head_dim], or does nothing if that is null.
template <class T, class Place, class Decode>
void read_channels(const std::byte* from, int row, int head_dim, float* out, Place place, Decode decode) {
  if (out == nullptr) return;
  for (int d = 0; d < head_dim; ++d) out[d] = decode(get<T>(from, place(d, row, head_dim)));
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
  constexpr const char* kNames[kKvTypes] = {"f32", "bf16", "int8", "q8", "q4", "q2"};
  return kNames[static_cast<size_t>(type)];
}

KvType parse_kv_type(const std::string& name) {
  std::string known;
  for (const KvType type : kOwnTypes) {
    if (name == kv_type_name(type)) return type;
    known += known.empty() ? "" : ", ";
    known += kv_type_name(type);
  }
  throw Error{Code::bad_request, fmt::format("KV type '{}' does not exist; there are {}", name, known)};
}

void write_row(const PageRef& page, KvType type, int head_dim, int row, const float* k, const float* v) {
  assert(row >= 0 && row < rows_per_page(type) && head_dim % 16 == 0);
  const Sides at = sides(page, head_dim);
  switch (type) {
    case KvType::f32:
      return write_f32(at, head_dim, row, k, v);
    case KvType::bf16:
      return write_bf16(at, head_dim, row, k, v);
    case KvType::int8:
      return write_int8(page, at, head_dim, row, k, v);
    case KvType::q8:
    case KvType::q4:
    case KvType::q2:
      assert(false);
  }
}

void read_row(const PageRef& page, KvType type, int head_dim, int row, float* k, float* v) {
  assert(row >= 0 && row < rows_per_page(type, head_dim));
  const Sides at = sides(page, head_dim);
  switch (type) {
    case KvType::f32: {
      const auto same = [](float x) { return x; };
      read_channels<float>(at.k, row, head_dim, k, f32_k, same);
      read_channels<float>(at.v, row, head_dim, v, f32_v, same);
      break;
    }
    case KvType::bf16:
      read_channels<bf16_t>(at.k, row, head_dim, k, bf16_k, bf16_to_f32);
      read_channels<bf16_t>(at.v, row, head_dim, v, bf16_v, bf16_to_f32);
      break;
    case KvType::int8: {
      const float k_scale = page.side[row];
      const float v_scale = page.side[kInt8Rows + row];
      read_channels<uint8_t>(at.k, row, head_dim, k, int8_k,
                             [=](uint8_t code) { return static_cast<float>(code - 128) * k_scale; });
      read_channels<int8_t>(at.v, row, head_dim, v, int8_v,
                            [=](int8_t code) { return static_cast<float>(code) * v_scale; });
      break;
    }
    case KvType::q8:
    case KvType::q4:
    case KvType::q2:
      read_quantized_rows(page, type, head_dim, row, 1, k, v);
      break;
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
      copy_channels<int8_t>(source.v, from_row, target.v, to_row, head_dim, int8_v);
      to.side[to_row] = from.side[from_row];
      to.side[kInt8Rows + to_row] = from.side[kInt8Rows + from_row];
      break;
    case KvType::q8:
    case KvType::q4:
    case KvType::q2:
      assert(false);
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
      for (int d = 0; d < head_dim; ++d) put(at.v, int8_v(d, row, head_dim), int8_t{0});
      page.side[row] = 0.0f;
      page.side[kInt8Rows + row] = 0.0f;
      break;
    case KvType::q8:
    case KvType::q4:
    case KvType::q2:
      assert(false);
  }
}

}  // namespace fastcache::kv
