// SPDX-License-Identifier: Apache-2.0
// What presses do in RandomModel: rows that go, are merged, replaced or get fewer bits.
#pragma once

#include <algorithm>
#include <cmath>

#include "kv/random_model_operations.h"

namespace fastcache::kv {

inline bool has_quantized(const HeadTable& head) {
  return std::any_of(head.entries.begin(), head.entries.end(),
                     [](const TableEntry& entry) { return is_quantized(entry.type); });
}

// All rows of the page are among the kept ones: it stays as it is.
inline bool stays_whole(const TableEntry& page, const std::vector<int32_t>& kept) {
  const auto first = std::lower_bound(kept.begin(), kept.end(), static_cast<int32_t>(page.first_row));
  if (kept.end() - first < page.rows_used) return false;
  return *first == static_cast<int32_t>(page.first_row) &&
         first[page.rows_used - 1] == static_cast<int32_t>(page.first_row) + page.rows_used - 1;
}

inline void RandomModel::expect_reserve_kept(size_t free_before) const {
  EXPECT_GE(pool_.free_pages(), std::min(free_before, pool_.reserve_pages()));
}

inline bool RandomModel::owned_alone(const HeadTable& head) const {
  bool alone = true;
  head.for_each_page([&](PageId page) { alone = alone && pool_.exclusive(page); });
  return alone;
}

// A new row with contents of its own.
inline RandomModel::Row RandomModel::make_row(Rows& rows, int token, int pair, bool with_bias) {
  const TestRow row = test_row(next_id_, pair);
  rows.k.insert(rows.k.end(), row.begin(), row.begin() + kTestHeadDim);
  rows.v.insert(rows.v.end(), row.begin() + kTestHeadDim, row.end());
  rows.bias.push_back(with_bias ? static_cast<float>(pick(3)) : 0.0f);
  return {token, next_id_++, true, rows.bias.back()};
}

inline bool RandomModel::keep(Live& live, int layer, int head) {
  touched_ = &live;
  auto& rows = live.heads[layer * live.sequence.shape().n_kv_heads + head];
  const int per_mille = pick(1001);
  std::vector<int32_t> kept;
  std::vector<Row> kept_rows;
  for (size_t r = 0; r < rows.size(); ++r) {
    if (pick(1000) >= per_mille) continue;
    kept.push_back(static_cast<int32_t>(r));
    kept_rows.push_back(rows[r]);
  }
  const HeadTable old = live.sequence.table(layer, head);
  const bool merges = !kept.empty() && !has_quantized(old) && pick(4) == 0;
  Rows made;
  const int first = merges ? pick(static_cast<int>(kept.size())) : 0;
  for (size_t r = first; merges && r < kept_rows.size(); ++r)
    kept_rows[r] = make_row(made, kept_rows[r].token, layer * live.sequence.shape().n_kv_heads + head, true);
  const size_t free = pool_.free_pages();
  const bool alone = owned_alone(old);
  const MergedRows merged{.first = first, .k = made.k.data(), .v = made.v.data(), .bias = made.bias.data()};
  if (!live.sequence.keep_rows(layer, head, kept, merges ? merged : MergedRows{})) {
    refused(free, !alone || merges);  // in place only new biases may need a page
    return false;
  }
  expect_reserve_kept(free);
  if (kept_rows.size() == rows.size() && !merges) return true;
  if (has_quantized(old))
    take_rounded(live, layer * live.sequence.shape().n_kv_heads + head, old, kept, kept_rows);
  for (Row& row : kept_rows) row.compressed = true;
  rows = std::move(kept_rows);
  return true;
}

inline void RandomModel::keep_one() { keep(any(), pick(2), pick(2)); }

inline void RandomModel::keep_all() {
  Live& live = any();
  for (int pair = 0; pair < 4; ++pair)
    if (!keep(live, pair / 2, pair % 2)) return;
}

inline void RandomModel::replace() {
  Live& live = any();
  touched_ = &live;
  const int pair = pick(4);
  std::vector<int32_t> tokens;
  Rows contents;
  std::vector<Row> rows;
  const bool with_bias = pick(2) == 0;
  for (size_t token = 0; token < live.tokens.size(); ++token) {
    if (pick(3) != 0) continue;
    tokens.push_back(static_cast<int32_t>(token));
    rows.push_back(make_row(contents, static_cast<int>(token), pair, with_bias));
  }
  const NewRows made{.type = kTestTypes[pick(3)],
                     .tokens = tokens,
                     .k = contents.k.data(),
                     .v = contents.v.data(),
                     .bias = with_bias ? contents.bias.data() : nullptr};
  const size_t free = pool_.free_pages();
  if (live.sequence.replace_rows(pair / 2, pair % 2, made)) {
    live.heads[pair] = std::move(rows);
    expect_reserve_kept(free);
  } else {
    refused(free, true);
  }
}

inline TestRow RandomModel::content(const Row& row, int pair) {
  return row.rounded == nullptr ? test_row(row.id, pair) : *row.rounded;
}

// After a change of a head, for verify(): rows that came to another quantised page may be off by half a step
// of the largest range, and from now on are what they are. old: the head before; kept: of its rows; rows:
// what is expected of them.
inline void RandomModel::take_rounded(const Live& live, int pair, const HeadTable& old,
                                      const std::vector<int32_t>& kept, std::vector<Row>& rows) {
  float largest = 0;
  for (const Row& row : rows)
    for (const float x : content(row, pair)) largest = std::max(largest, std::fabs(x));
  for (size_t r = 0; r < rows.size(); ++r) {
    const RowSlot slot = live.sequence.row(pair / 2, pair % 2, static_cast<int>(r));
    if (!is_quantized(slot.type)) continue;
    const TableEntry& from = old.entries[old.place(kept[r]).entry];
    if (is_quantized(from.type) && stays_whole(from, kept)) continue;
    const double step = 2.0 * largest / ((1 << element_bits(slot.type)) - 1);
    const TestRow before = content(rows[r], pair), now = stored_row(slot);
    for (size_t d = 0; d < now.size(); ++d)
      ASSERT_LE(std::fabs(double{now[d]} - before[d]), step * 0.51 * 1.08) << "pair " << pair << " row " << r;
    rows[r].rounded = std::make_shared<const TestRow>(now);
    ++rounded_;
  }
}

inline void RandomModel::quantize() {
  Live& live = any();
  const int pair = pick(4);
  const HeadTable old = live.sequence.table(pair / 2, pair % 2);
  if (old.bias != nullptr) return;  // Sequence does not take that
  touched_ = &live;
  std::vector<Row>& rows = live.heads[pair];
  const int per_mille = pick(2) == 0 ? 1000 : pick(1001);
  std::vector<int32_t> kept;
  std::vector<Row> kept_rows;
  for (size_t r = 0; r < rows.size(); ++r) {
    if (pick(1000) >= per_mille) continue;
    kept.push_back(static_cast<int32_t>(r));
    kept_rows.push_back(rows[r]);
  }
  const int n_kept = static_cast<int>(kept.size());
  const int n_quantized = pick(2) == 0 ? n_kept : pick(n_kept + 1);
  constexpr KvType kTypes[] = {KvType::q8, KvType::q4, KvType::q2};
  const size_t free = pool_.free_pages();
  if (!live.sequence.quantize_rows(pair / 2, pair % 2, kept, n_quantized, kTypes[pick(3)])) {
    refused(free, true);  // formats that meet within a page may need one page more
    return;
  }
  expect_reserve_kept(free);
  const int n_compressed = live.sequence.rows_compressed(pair / 2, pair % 2);
  if (kept.size() == rows.size() && n_compressed < n_kept) return;  // no page less: it stayed as it was
  take_rounded(live, pair, old, kept, kept_rows);
  for (Row& row : kept_rows) row.compressed = true;
  rows = std::move(kept_rows);
}

}  // namespace fastcache::kv
