// SPDX-License-Identifier: Apache-2.0
// The operations of PrefixModel: each does the same to the cache and to the reference.
#pragma once

#include "engine/prefix_model_impl.h"

namespace fastcache::engine {

inline const std::vector<PrefixModel::Operation>& PrefixModel::operations() {
  static const std::vector<Operation> all = {{"start", 24, &PrefixModel::start},
                                             {"decode", 24, &PrefixModel::decode},
                                             {"insert", 24, &PrefixModel::insert},
                                             {"compress", 6, &PrefixModel::compress},
                                             {"keep_compressed", 16, &PrefixModel::keep_compressed},
                                             {"fork", 3, &PrefixModel::fork},
                                             {"truncate", 3, &PrefixModel::truncate},
                                             {"window", 2, &PrefixModel::window},
                                             {"release", 16, &PrefixModel::release},
                                             {"evict", 8, &PrefixModel::evict},
                                             {"evict_all", 1, &PrefixModel::evict_all},
                                             {"clear_one", 1, &PrefixModel::clear_one}};
  return all;
}

inline PrefixModel::Content PrefixModel::prompt() {
  Content content;
  if (!prompts_.empty() && pick(6) != 0) {
    const Content& earlier = prompts_[pick(static_cast<int>(prompts_.size()))];
    const int n = static_cast<int>(earlier.tokens.size());
    content = first_of(earlier, pick(3) != 0 ? n : 1 + pick(n));
  }
  extend(content, pick(3) == 0 ? 1 : 1 + pick(20));
  return content.tokens.size() > 60 ? prompt() : content;
}

inline void PrefixModel::remember_prompt(const Content& content) {
  if (prompts_.size() < 8)
    prompts_.push_back(content);
  else
    prompts_[pick(8)] = content;
}

// A first failure for lack of pages asks the cache for them, as an engine does.
inline bool PrefixModel::append(Live& live, const Content& content) {
  const PrefixNamespace& name = model_names()[live.name];
  const size_t wanted =
      live.sequence.pages_to_append(static_cast<int>(content.tokens.size()) - live.sequence.token_count());
  const size_t missing = wanted > pool_.available_pages() ? wanted - pool_.available_pages() : 0;
  if (missing > 0) evict_pages(missing);
  if (!append_rest(live.sequence, name, content.tokens, content.digests)) {
    const bool injected = fault_planned_ && !faults_.armed();
    EXPECT_TRUE(injected || wanted > pool_.available_pages());
    EXPECT_TRUE(injected || cache_.evictable_pages() == 0) << "evict() freed less than it could";
    ++n_without_pages_;
    return false;
  }
  live.content = content;
  return true;
}

inline void PrefixModel::start() {
  if (live_.size() == kMaxLiveSequences) return release();
  const int name = pick(2) == 0 ? 1 : pick(static_cast<int>(model_names().size()));
  const Content content = prompt();
  const int expected = longest_known(name, content);
  const PrefixPrompt asked{content.tokens, content.digests};
  EXPECT_EQ(cache_.cached_tokens(model_names()[name], asked), expected);
  Live live{cache_.lookup(model_names()[name], asked), name, first_of(content, expected)};
  ++expected_.lookups;
  expected_.tokens_looked_up += static_cast<int64_t>(content.tokens.size());
  expected_.tokens_hit += expected;
  ASSERT_EQ(live.sequence.token_count(), expected);
  live.compressed = expected % kModelBlock != 0;
  live.window_tokens = live.compressed ? expected : 0;  // not known: it may have been windowed
  if (live.compressed) {
    EXPECT_EQ(known_[name].compressed.count(live.content), 1U);
    ++n_compressed_hits_;
  }
  expect_rows_of(live.sequence, model_names()[name], content.tokens, content.digests);
  live_.push_back(std::make_unique<Live>(std::move(live)));
  if (!append(*live_.back(), content)) live_.pop_back();
}

inline void PrefixModel::decode() {
  Live& live = any();
  Content longer = live.content;
  extend(longer, 1 + pick(3));
  append(live, longer);
}

inline void PrefixModel::insert() {
  const Live& live = any();
  std::set<Content, Less>& blocks = known_[live.name].blocks;
  int n_new = 0;
  for (int n = kModelBlock; n <= shareable(live.content); n += kModelBlock) {
    const Content block = first_of(live.content, n);
    if (blocks.count(block) > 0) continue;
    const bool lost_rows =
        live.compressed || n - kModelBlock < live.window_tokens / kModelBlock * kModelBlock;
    if (lost_rows) break;
    blocks.insert(block);
    ++n_new;
  }
  remember_prompt(live.content);
  EXPECT_EQ(cache_.insert(model_names()[live.name], live.content.digests, live.sequence), n_new);
  EXPECT_EQ(faults_.armed(), fault_planned_) << "inserting allocates nothing";
}

inline void PrefixModel::compress() {
  Live& live = any();
  for (int layer = 0; layer < kModelShape.n_layers; ++layer) {
    const int held = live.sequence.rows_held(layer, 0);
    const int kept_of_ten = pick(10);
    std::vector<int32_t> rows;
    for (int r = 0; r < held; ++r)
      if (pick(10) < kept_of_ten) rows.push_back(r);
    if (static_cast<int>(rows.size()) == held) continue;
    if (live.sequence.keep_rows(layer, 0, rows)) live.compressed = true;
  }
}

inline void PrefixModel::keep_compressed() {
  const Live& live = any();
  const int n = live.sequence.token_count();
  if (!live.compressed || n % kModelBlock == 0 || model_names()[live.name].press.empty()) return;
  const kv::SequenceBytes bytes = live.sequence.bytes();
  const bool possible = bytes.exclusive + bytes.shared > 0 && shareable(live.content) == n;
  const bool is_new = possible && known_[live.name].compressed.insert(first_of(live.content, n)).second;
  remember_prompt(live.content);
  EXPECT_EQ(cache_.insert_compressed(model_names()[live.name], live.content.digests, live.sequence), is_new);
  EXPECT_EQ(faults_.armed(), fault_planned_) << "inserting allocates nothing";
}

inline void PrefixModel::fork() {
  if (live_.size() == kMaxLiveSequences) return;
  const Live& live = any();
  live_.push_back(std::make_unique<Live>(
      Live{live.sequence.fork(), live.name, live.content, live.compressed, live.window_tokens}));
}

inline void PrefixModel::truncate() {
  Live& live = any();
  const int n = live.sequence.token_count();
  if (live.window_tokens > 0 || n < 2) return;  // what a window freed does not come back
  const int kept = n - pick(std::min(n, 12));
  live.sequence.truncate_to(kept);
  live.content = first_of(live.content, kept);
}

inline void PrefixModel::window() {
  Live& live = any();
  const int position = std::max(0, live.sequence.token_count() - 1 - pick(12));
  live.sequence.free_before(0, position);
  live.window_tokens = std::max(live.window_tokens, position);
}

inline void PrefixModel::release() {
  std::swap(live_[pick(static_cast<int>(live_.size()))], live_.back());
  live_.pop_back();
}

inline void PrefixModel::evict_pages(size_t n) {
  const size_t free = pool_.free_pages();
  const size_t evictable = pages_without_user();
  const PrefixCacheStatistics before = cache_.statistics();
  const size_t freed = cache_.evict(n);
  EXPECT_EQ(pool_.free_pages(), free + freed);
  EXPECT_GE(freed, std::min(n, evictable));
  EXPECT_LE(freed, evictable);
  const PrefixCacheStatistics after = cache_.statistics();
  expected_.evictions += static_cast<int64_t>(before.blocks + before.compressed_sequences) -
                         static_cast<int64_t>(after.blocks + after.compressed_sequences);
  forget_what_was_dropped();
}

inline void PrefixModel::evict() { evict_pages(pick(5)); }

inline void PrefixModel::evict_all() {
  evict_pages(pool_.n_pages());
  EXPECT_EQ(cache_.evictable_pages(), 0U);
}

inline void PrefixModel::clear_one() {
  const int name = pick(static_cast<int>(model_names().size()));
  cache_.clear(model_names()[name]);
  known_[name] = {};
}

}  // namespace fastcache::engine
