// SPDX-License-Identifier: Apache-2.0
// The operations of RandomModel but those of a press: each does the same to a sequence and to its reference.
#pragma once

#include "kv/random_model_impl.h"

namespace fastcache::kv {

inline RandomModel::Live& RandomModel::add(Sequence sequence) {
  const int n_heads = sequence.shape().n_heads();
  live_.push_back(
      std::make_unique<Live>(Live{std::move(sequence), {}, {}, std::vector<std::vector<Row>>(n_heads)}));
  touched_ = live_.back().get();
  return *touched_;
}

inline bool RandomModel::append(Live& live, const std::vector<Token>& tokens) {
  touched_ = &live;
  const int n = static_cast<int>(tokens.size());
  const int first = live.sequence.token_count();
  const size_t free = pool_.free_pages();
  const size_t wanted = live.sequence.pages_to_append(n);
  if (!live.sequence.append(tokens)) {
    refused(free, wanted > pool_.available_pages());
    return false;
  }
  EXPECT_EQ(free - pool_.free_pages(), wanted);
  std::vector<uint32_t> ids(n);
  for (uint32_t& id : ids) id = next_id_++;
  write_new_rows(live.sequence, ids);
  live.tokens.insert(live.tokens.end(), tokens.begin(), tokens.end());
  live.ids.insert(live.ids.end(), ids.begin(), ids.end());
  for (auto& head : live.heads)
    for (int i = 0; i < n; ++i) head.push_back({first + i, ids[i], false, 0.0f});
  return true;
}

inline std::vector<Token> RandomModel::text(const Live& live, int n) {
  std::vector<Token> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back(text_token(pick(1000), live.sequence.next_position() + i));
  return tokens;
}

inline void RandomModel::forget(Live& live, int n_tokens) {
  live.tokens.resize(n_tokens);
  live.ids.resize(n_tokens);
  for (auto& head : live.heads)
    while (!head.empty() && head.back().token >= n_tokens) head.pop_back();
}

inline void RandomModel::create() {
  if (live_.size() == kMaxLive) return;
  Live& live = add(Sequence{pool_, {.n_layers = 2, .n_kv_heads = 2, .type = kTestTypes[pick(3)]}});
  append(live, text(live, 1 + pick(30)));
}

inline void RandomModel::prefill() {
  Live& live = any();
  live.sequence.set_state(PageState::prefill);
  append(live, text(live, 1 + pick(30)));
}

inline void RandomModel::decode() {
  Live& live = any();
  live.sequence.set_state(PageState::decode);
  append(live, text(live, 1));
}

inline void RandomModel::image() {
  Live& live = any();
  const int start = live.sequence.next_position();
  const int columns = 1 + pick(4);
  std::vector<Token> patches;
  for (int i = 0; i < columns * (1 + i % 3) && i < 12; ++i) {
    const int row = i / columns, col = i % columns;
    patches.push_back({.image = 0,
                       .patch_row = static_cast<int16_t>(row),
                       .patch_col = static_cast<int16_t>(col),
                       .position = {start, start + row, start + col, 0}});
  }
  append(live, patches);
}

inline void RandomModel::failed_step() {
  Live& live = any();
  const int before = live.sequence.token_count();
  append(live, text(live, 1 + pick(20)));
  live.sequence.truncate_to(before);
  forget(live, before);
}

inline void RandomModel::fork() {
  if (live_.size() == kMaxLive) return;
  const Live& from = any();
  Live& to = add(from.sequence.fork());
  to.tokens = from.tokens;
  to.ids = from.ids;
  to.heads = from.heads;
}

inline void RandomModel::truncate() {
  Live& live = any();
  touched_ = &live;
  const int n = static_cast<int>(live.tokens.size());
  const int kept = pick(8) == 0 ? pick(n + 1) : std::max(0, n - pick(20));
  live.sequence.truncate_to(kept);
  forget(live, kept);
}

inline void RandomModel::release() {
  const size_t i = pick(static_cast<int>(live_.size()));
  std::swap(live_[i], live_.back());
  if (pick(2) == 0) live_.back()->sequence.release();
  live_.pop_back();
}

inline void RandomModel::cache() {
  const Live& live = any();
  if (cached_.size() == kMaxCached) return;
  Cached cached;
  for (int block = 0; live.sequence.can_share_block(block); ++block)
    cached.blocks.push_back(live.sequence.share_block(block));
  const size_t n_tokens = cached.blocks.size() * live.sequence.shape().rows();
  cached.tokens.assign(live.tokens.begin(), live.tokens.begin() + n_tokens);
  cached.ids.assign(live.ids.begin(), live.ids.begin() + n_tokens);
  if (n_tokens > 0) cached_.push_back(std::move(cached));
}

inline void RandomModel::uncache() {
  if (cached_.empty()) return;
  std::swap(cached_[pick(static_cast<int>(cached_.size()))], cached_.back());
  cached_.pop_back();
}

inline void RandomModel::attach() {
  if (cached_.empty() || live_.size() == kMaxLive) return;
  const Cached& cached = cached_[pick(static_cast<int>(cached_.size()))];
  const CacheShape shape = cached.blocks[0].shape();
  std::vector<const Block*> blocks;
  for (int b = 0;
       b <= pick(static_cast<int>(cached.blocks.size())) && b < static_cast<int>(cached.blocks.size()); ++b)
    blocks.push_back(&cached.blocks[b]);
  const size_t n = blocks.size() * shape.rows();
  Live& live = add(Sequence{pool_, shape});
  live.tokens.assign(cached.tokens.begin(), cached.tokens.begin() + n);
  live.ids.assign(cached.ids.begin(), cached.ids.begin() + n);
  live.sequence.attach(blocks, live.tokens);
  for (auto& head : live.heads)
    for (size_t t = 0; t < n; ++t) head.push_back({static_cast<int>(t), live.ids[t], false, 0.0f});
}

inline void RandomModel::window() {
  Live& live = any();
  touched_ = &live;
  const int layer = pick(2);
  const int32_t position = live.sequence.next_position() - 20 - pick(20);
  for (int head = 0; head < 2; ++head) {  // whole pages: the table says how many rows each has
    auto& rows = live.heads[layer * 2 + head];
    size_t n = 0;
    for (const TableEntry& entry : live.sequence.head_rows(layer, head).entries) {
      if (live.tokens[rows[n + entry.rows_used - 1].token].position[0] >= position) break;
      n += entry.rows_used;
    }
    rows.erase(rows.begin(), rows.begin() + n);
  }
  live.sequence.free_before(layer, position);
}

inline void RandomModel::move() {
  Live& live = any();
  touched_ = &live;
  Sequence moved{std::move(live.sequence)};
  live.sequence = Sequence{pool_, moved.shape()};
  live.sequence = std::move(moved);
}

}  // namespace fastcache::kv
