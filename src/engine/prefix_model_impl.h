// SPDX-License-Identifier: Apache-2.0
// The reference of PrefixModel. Included by the tests that run it: a .cc file would become part of the
// library.
#pragma once

#include <algorithm>
#include <tuple>

#include "engine/prefix_model.h"

namespace fastcache::engine {

constexpr kv::CacheShape kModelShape{.n_layers = 2, .n_kv_heads = 1, .type = kv::KvType::f32};
constexpr int kModelBlock = kv::rows_per_page(kv::KvType::f32);
constexpr size_t kMaxLiveSequences = 5;
constexpr int kTokenNobodyUses = 77;

inline const std::vector<PrefixNamespace>& model_names() {
  static const std::vector<PrefixNamespace> names = {{"a", ""},       {"a", "p"},     {"b", "p"},
                                                     {"a", "p{x=1}"}, {"a", "", "l"}, {"a", "p", "l"}};
  return names;
}

inline bool PrefixModel::Less::operator()(const Content& a, const Content& b) const {
  const auto key = [](const kv::Token& t) {
    return std::tuple{t.id, t.image, t.patch_row, t.patch_col, t.position};
  };
  const auto less = [&](const kv::Token& x, const kv::Token& y) { return key(x) < key(y); };
  if (a.tokens != b.tokens)
    return std::lexicographical_compare(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end(),
                                        less);
  return std::lexicographical_compare(
      a.digests.begin(), a.digests.end(), b.digests.begin(), b.digests.end(),
      [](const Hash128& x, const Hash128& y) { return std::tie(x.low, x.high) < std::tie(y.low, y.high); });
}

inline kv::PoolOptions model_pool(kv::AllocationFaults* faults) {
  kv::PoolOptions options = kv::test_pool(56, 2, {kv::KvType::f32});
  options.faults = faults;
  return options;
}

inline PrefixModel::PrefixModel(uint64_t seed)
    : random_(seed),
      pool_(model_pool(&faults_)),
      cache_(pool_, kModelShape),
      known_(model_names().size()),
      done_(operations().size()) {}

// Few different tokens, so that prompts meet by chance too; now and then a picture, some without a digest.
inline void PrefixModel::extend(Content& content, int n) {
  for (int i = 0; i < n; ++i) {
    const int32_t position = static_cast<int32_t>(content.tokens.size());
    kv::Token token = kv::text_token(pick(2), position);
    const kv::Token* last = content.tokens.empty() ? nullptr : &content.tokens.back();
    const int n_images =
        last == nullptr ? 0
                        : 1 + std::max_element(content.tokens.begin(), content.tokens.end(),
                                               [](const auto& a, const auto& b) { return a.image < b.image; })
                                  ->image;
    if (last != nullptr && last->image >= 0 && pick(2) == 0) {
      token.id = -1;
      token.image = last->image;
    } else if (pick(100) == 0) {
      token.id = -1;
      token.image = n_images;
      const bool all_known = static_cast<int>(content.digests.size()) == n_images;
      if (all_known && pick(4) != 0) content.digests.push_back({static_cast<uint64_t>(pick(2)), 5});
    }
    content.tokens.push_back(token);
  }
}

inline PrefixModel::Content PrefixModel::first_of(const Content& content, int n) const {
  Content first{{content.tokens.begin(), content.tokens.begin() + n}, {}};
  int n_images = 0;
  for (const kv::Token& token : first.tokens) n_images = std::max(n_images, token.image + 1);
  first.digests.assign(
      content.digests.begin(),
      content.digests.begin() + std::min<int>(n_images, static_cast<int>(content.digests.size())));
  return first;
}

inline int PrefixModel::shareable(const Content& content) const {
  int n = 0;
  for (const kv::Token& token : content.tokens) {
    if (token.image >= static_cast<int>(content.digests.size())) break;
    ++n;
  }
  return n;
}

inline int PrefixModel::longest_known(int name, const Content& content) const {
  const Known& known = known_[name];
  int longest = 0;
  for (int n = 1; n < static_cast<int>(content.tokens.size()) && n <= shareable(content); ++n) {
    const Content first = first_of(content, n);
    if (known.blocks.count(first) + known.compressed.count(first) > 0) longest = n;
  }
  return longest;
}

inline void PrefixModel::forget_what_was_dropped() {
  for (size_t name = 0; name < known_.size(); ++name) {
    const auto gone = [&](const Content& content) {
      Tokens longer = content.tokens;
      longer.push_back(kv::text_token(kTokenNobodyUses, static_cast<int32_t>(longer.size())));
      const int n = cache_.cached_tokens(model_names()[name], {longer, content.digests});
      return n != static_cast<int>(content.tokens.size());
    };
    std::erase_if(known_[name].blocks, gone);
    std::erase_if(known_[name].compressed, gone);
    for (const Content& block : known_[name].blocks) {
      const int n = static_cast<int>(block.tokens.size()) - kModelBlock;
      ASSERT_TRUE(n == 0 || known_[name].blocks.count(first_of(block, n)) == 1)
          << "a block without its parent";
    }
  }
}

inline size_t PrefixModel::pages_without_user() const {
  std::set<kv::PageId> used;
  for (const auto& live : live_)
    for (int layer = 0; layer < kModelShape.n_layers; ++layer)
      for (const kv::TableEntry& entry : live->sequence.table(layer, 0).entries) used.insert(entry.page);
  return pool_.n_pages() - pool_.free_pages() - used.size();
}

inline void PrefixModel::verify() {
  std::vector<const kv::Sequence*> sequences;
  for (const auto& live : live_) {
    sequences.push_back(&live->sequence);
    ASSERT_EQ(live->sequence.token_count(), static_cast<int>(live->content.tokens.size()));
  }
  ASSERT_NO_THROW(cache_.check(sequences));
  ASSERT_EQ(cache_.evictable_pages(), pages_without_user());
  size_t n_blocks = 0, n_compressed = 0;
  for (const Known& known : known_) {
    n_blocks += known.blocks.size();
    n_compressed += known.compressed.size();
  }
  const PrefixCacheStatistics is = cache_.statistics();
  ASSERT_EQ(is.blocks, n_blocks);
  ASSERT_EQ(is.compressed_sequences, n_compressed);
  ASSERT_EQ(is.lookups, expected_.lookups);
  ASSERT_EQ(is.tokens_looked_up, expected_.tokens_looked_up);
  ASSERT_EQ(is.tokens_hit, expected_.tokens_hit);
  ASSERT_EQ(is.evictions, expected_.evictions);
}

inline void PrefixModel::run(int n_operations) {
  std::vector<int> wheel;
  for (size_t o = 0; o < operations().size(); ++o)
    wheel.insert(wheel.end(), operations()[o].weight, static_cast<int>(o));
  for (int i = 0; i < n_operations && !testing::Test::HasFailure(); ++i) {
    const int o = live_.empty() ? 0 : wheel[pick(static_cast<int>(wheel.size()))];
    fault_planned_ = pick(6) == 0;
    if (fault_planned_) faults_.fail_after(0);
    (this->*operations()[o].perform)();
    faults_.disarm();
    ++done_[o];
    verify();
    if (i % 8 == 0 && !live_.empty()) {
      const Live& live = any();
      expect_rows_of(live.sequence, model_names()[live.name], live.content.tokens, live.content.digests);
    }
    if (testing::Test::HasFailure()) ADD_FAILURE() << "at operation " << i << ", " << operations()[o].name;
  }
  if (testing::Test::HasFailure()) return;
  live_.clear();
  cache_.clear();
  EXPECT_EQ(pool_.free_pages(), pool_.n_pages());
  EXPECT_EQ(cache_.statistics().bytes, 0U);
  cache_.check({});
}

inline std::string PrefixModel::counts() const {
  std::string text;
  for (size_t o = 0; o < done_.size(); ++o)
    text += std::string(operations()[o].name) + " " + std::to_string(done_[o]) + ", ";
  return text + "tokens hit " + std::to_string(expected_.tokens_hit) + " of " +
         std::to_string(expected_.tokens_looked_up) + ", compressed hits " +
         std::to_string(n_compressed_hits_) + ", without pages " + std::to_string(n_without_pages_) +
         ", evictions " + std::to_string(expected_.evictions);
}

}  // namespace fastcache::engine
