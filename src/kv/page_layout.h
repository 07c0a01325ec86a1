// SPDX-License-Identifier: Apache-2.0
// The inside of a page: K and V rows of ONE (layer, KV head), in the order the attention kernels want. This
// header is the only one that knows that order; everybody else goes through these functions or through a
// kernel.
//
//   type   rows  K                         V                        side area (per page)
//   f32      8   [head_dim][8]             [8][head_dim]            -
//   bf16    16   [head_dim/2][16][2]       [8][head_dim][2]         -
//   int8    32   [head_dim/4][32][4]       [8][head_dim][4]         k_scale f32 [32], v_scale f32 [32]
//   q8, q4, q2   see quantized_page.h      see there                -
//
// All have the same payload: 64 * head_dim bytes (4 KiB where head_dim is 64), so that one free list serves
// all. A sequence's own type is one of the first three; the quantised ones are filled once, a page at a time,
// when a head changes its format, and any pool takes them. bf16: K holds pairs of channels (VDPBF16PS over
// channels), V pairs of rows. int8: symmetric, x = code * scale of the row; K holds groups of four channels
// as code + 128 (unsigned, for VPDPBUSD), V groups of four rows as signed codes (for VPDPBUSD by unsigned
// weights). Rows that were never written hold zeros (or, in int8, any code with scale 0): kernels may read
// them, but never let them count.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace fastcache::kv {

enum class KvType : uint8_t { f32, bf16, int8, q8, q4, q2 };
constexpr int kKvTypes = 6;
constexpr bool is_quantized(KvType type) { return type >= KvType::q8; }
const char* kv_type_name(KvType type);
// Of a sequence's own type. Throws Error (bad_request) that lists the names.
KvType parse_kv_type(const std::string& name);

constexpr int element_bits(KvType type) {
  constexpr int kBits[kKvTypes] = {32, 16, 8, 8, 4, 2};
  return kBits[static_cast<size_t>(type)];
}
constexpr int rows_per_page(KvType type) {  // of a type that is not quantised
  assert(!is_quantized(type));
  return type == KvType::f32 ? 8 : type == KvType::bf16 ? 16 : 32;
}
// A quantised page has its scales in the payload: 4 bytes for each channel and for each row. Rows come in
// units that V's words hold.
constexpr int rows_per_page(KvType type, int head_dim) {
  if (!is_quantized(type)) return rows_per_page(type);
  const int row_bytes = 2 * head_dim * element_bits(type) / 8 + 4;
  const int unit = type == KvType::q8 ? 4 : 8;
  return 60 * head_dim / row_bytes / unit * unit;
}
constexpr size_t page_payload_bytes(int head_dim) { return size_t{64} * static_cast<size_t>(head_dim); }
constexpr size_t page_side_bytes(KvType type) { return type == KvType::int8 ? 2 * 32 * sizeof(float) : 0; }
// Where V begins; in quantised pages elsewhere.
constexpr size_t value_offset_bytes(int head_dim) { return page_payload_bytes(head_dim) / 2; }

// One page in memory. head_dim is a multiple of 16 (checked when the pool is made).
struct PageRef {
  std::byte* payload = nullptr;  // [page_payload_bytes], 64-byte aligned
  float* side = nullptr;         // [page_side_bytes]: k_scale[32], v_scale[32]; null where the type has none
};

// Different rows may be written at once by different threads, also in one page: no byte of another row is
// touched, though rows share words. Not for quantised pages; nor are copy_row() and clear_row().
// k, v: [head_dim], f32. Rounds (f32 -> bf16 to nearest even; int8 by the row's largest magnitude).
void write_row(const PageRef& page, KvType type, int head_dim, int row, const float* k, const float* v);
// k, v: [head_dim], f32; either may be null.
void read_row(const PageRef& page, KvType type, int head_dim, int row, float* k, float* v);
// Rows [first_row, first_row + n) at once, several times faster than row by row; the same numbers as
// read_row. k, v: [n, head_dim], f32; either may be null.
void read_rows(const PageRef& page, KvType type, int head_dim, int first_row, int n, float* k, float* v);
// Copies one row bit for bit between pages of the same type.
void copy_row(const PageRef& from, int from_row, const PageRef& to, int to_row, KvType type, int head_dim);

// Makes a row read as zeros (int8: with scale 0).
void clear_row(const PageRef& page, KvType type, int head_dim, int row);

// Factors and biases of rows that are not the page's own: fusion's norms, merging's ln(mass). Each
// [rows_per_page] or null. K factors multiply scores, V factors (never negative) the weights in the numerator
// only, the bias is added to the scaled score.
struct RowExtras {
  const float* k_factor = nullptr;
  const float* v_factor = nullptr;
  const float* bias = nullptr;
};

using PageId = uint32_t;

// One page of a block table, as kernels see it.
struct TableEntry {
  PageId page = 0;
  uint32_t first_row = 0;  // rows of this (sequence, layer, head) before this page
  uint16_t rows_used = 0;  // partly filled pages may be interior after compression
  KvType type = KvType::bf16;
  int32_t position_delta = 0;         // K was rotated for (position - delta): q is rotated by -delta to match
  const RowExtras* extras = nullptr;  // usually absent
};

// Where the pool's pages lie; kernels index it by PageId.
struct PageMemory {
  std::byte* payload = nullptr;  // [n_pages][payload_bytes]
  std::byte* side = nullptr;     // [n_pages][side_bytes]
  size_t payload_bytes = 0;
  size_t side_bytes = 0;  // 0 where no type in this pool needs one

  PageRef page(PageId id) const {
    return {payload + id * payload_bytes,
            side_bytes == 0 ? nullptr : reinterpret_cast<float*>(side + id * side_bytes)};
  }
};

// The rows of one (sequence, layer, KV head), as kernels see them. Views only; whoever builds one keeps the
// memory alive and unchanged until the step is over.
struct HeadRows {
  std::span<const TableEntry> entries;
  int n_rows = 0;                          // sum of rows_used, this step's new rows included
  const int32_t* row_positions = nullptr;  // [n_rows] logical positions, never falling; null = contiguous:
  int32_t first_position = 0;              //   row r stands at first_position + r
  int32_t entries_before = 0;  // entries that a sliding window freed in front of these: boundaries that
                               //   must not depend on when that happened count from there
};

}  // namespace fastcache::kv
