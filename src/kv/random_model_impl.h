// SPDX-License-Identifier: Apache-2.0
// Included by the tests that run it: a .cc file would become part of the library.
#pragma once

#include <algorithm>
#include <utility>

#include "kv/random_model.h"

namespace fastcache::kv {

constexpr size_t kMaxLive = 10;
constexpr size_t kMaxCached = 5;
constexpr KvType kTestTypes[] = {KvType::bf16, KvType::f32, KvType::int8};

inline PoolOptions with_faults(PoolOptions options, AllocationFaults* faults) {
  options.faults = faults;
  return options;
}

inline RandomModel::RandomModel(uint64_t seed)
    : random_(seed),
      pool_(with_faults(test_pool(80, 6, {KvType::bf16, KvType::f32, KvType::int8}), &faults_)),
      done_(operations().size()) {}

inline const std::vector<RandomModel::Operation>& RandomModel::operations() {
  static const std::vector<Operation> all = {
      {"create", 4, &RandomModel::create},           {"prefill", 8, &RandomModel::prefill},
      {"decode", 24, &RandomModel::decode},          {"image", 2, &RandomModel::image},
      {"failed_step", 4, &RandomModel::failed_step}, {"fork", 4, &RandomModel::fork},
      {"truncate", 4, &RandomModel::truncate},       {"release", 7, &RandomModel::release},
      {"keep_one", 8, &RandomModel::keep_one},       {"keep_all", 3, &RandomModel::keep_all},
      {"replace", 2, &RandomModel::replace},         {"cache", 3, &RandomModel::cache},
      {"uncache", 3, &RandomModel::uncache},         {"attach", 3, &RandomModel::attach},
      {"window", 3, &RandomModel::window},           {"move", 1, &RandomModel::move},
      {"quantize", 6, &RandomModel::quantize}};
  return all;
}

inline void RandomModel::run(int64_t n_operations) {
  std::vector<int> wheel;
  for (size_t o = 0; o < operations().size(); ++o)
    wheel.insert(wheel.end(), operations()[o].weight, static_cast<int>(o));
  for (int64_t i = 0; i < n_operations && !testing::Test::HasFailure(); ++i) {
    const int o = wheel[pick(static_cast<int>(wheel.size()))];
    fault_planned_ = pick(6) == 0;
    if (fault_planned_) faults_.fail_after(pick(3));
    touched_ = nullptr;
    if (!live_.empty() || operations()[o].perform == &RandomModel::create) (this->*operations()[o].perform)();
    ++done_[o];
    faults_.disarm();
    if (touched_ != nullptr) verify(*touched_);
    if (!live_.empty() && i % 4 == 0) verify(any());
    if (i % 128 == 0) check_all();
    if (testing::Test::HasFailure()) ADD_FAILURE() << "at operation " << i << ", " << operations()[o].name;
  }
  if (testing::Test::HasFailure()) return;
  check_all();
  live_.clear();
  cached_.clear();
  EXPECT_EQ(pool_.free_pages(), pool_.n_pages());
  EXPECT_GT(rounded_, 0);
  check_all();
}

inline std::string RandomModel::counts() const {
  std::string text;
  for (size_t o = 0; o < done_.size(); ++o)
    text += std::string(operations()[o].name) + " " + std::to_string(done_[o]) + ", ";
  return text + "refused for scarcity " + std::to_string(scarce_) + ", by injection " +
         std::to_string(injected_) + ", rows rounded " + std::to_string(rounded_);
}

inline void RandomModel::refused(size_t free_before, bool scarce) {
  const bool injected = fault_planned_ && !faults_.armed();
  EXPECT_TRUE(scarce || injected) << "refused without a reason";
  EXPECT_EQ(pool_.free_pages(), free_before);
  ++(injected ? injected_ : scarce_);
}

inline void RandomModel::verify(const Live& live) {
  const Sequence& sequence = live.sequence;
  ASSERT_EQ(sequence.token_count(), static_cast<int>(live.tokens.size()));
  int32_t next = 0;
  for (const Token& token : live.tokens)
    next = std::max(next, *std::max_element(token.position.begin(), token.position.end()) + 1);
  ASSERT_EQ(sequence.next_position(), next);
  for (int layer = 0; layer < sequence.shape().n_layers; ++layer)
    for (int head = 0; head < sequence.shape().n_kv_heads; ++head) verify_head(live, layer, head);
  if (pick(16) == 0) expect_clean_tails(pool_, sequence);
}

// Reads rows as a kernel does: page by page. All tokens and positions, and a third of the contents.
inline void RandomModel::verify_head(const Live& live, int layer, int head) {
  const int pair = layer * live.sequence.shape().n_kv_heads + head;
  const std::vector<Row>& expected = live.heads[pair];
  const HeadRows rows = live.sequence.head_rows(layer, head);
  ASSERT_EQ(rows.n_rows, static_cast<int>(expected.size())) << "pair " << pair;
  int r = 0;
  for (const TableEntry& entry : rows.entries) {
    ASSERT_EQ(entry.first_row, static_cast<uint32_t>(r));
    for (int in_page = 0; in_page < entry.rows_used; ++in_page, ++r) {
      const Row& row = expected[r];
      ASSERT_EQ(r < live.sequence.rows_compressed(layer, head), row.compressed);
      ASSERT_EQ(live.sequence.row_token(layer, head, r), row.token) << "pair " << pair << " row " << r;
      const int position = rows.row_positions == nullptr ? rows.first_position + r : rows.row_positions[r];
      ASSERT_EQ(position, live.tokens[row.token].position[0]) << "pair " << pair << " row " << r;
      const float bias = entry.extras == nullptr ? 0.0f : entry.extras->bias[in_page];
      ASSERT_EQ(bias, row.bias) << "pair " << pair << " row " << r;
      if (pick(3) != 0) continue;
      ASSERT_EQ(stored_row({pool_.page(entry.page), in_page, entry.type}), content(row, pair))
          << "pair " << pair << " row " << r << " page " << entry.page;
    }
  }
}

inline void RandomModel::check_all() {
  std::vector<const Sequence*> sequences;
  std::vector<const Block*> blocks;
  for (const auto& live : live_) {
    sequences.push_back(&live->sequence);
    verify(*live);
  }
  for (const Cached& cached : cached_)
    for (const Block& block : cached.blocks) blocks.push_back(&block);
  ASSERT_NO_THROW(check_consistency(pool_, sequences, blocks));
  size_t exclusive = 0;
  for (const Sequence* sequence : sequences) exclusive += sequence->bytes().exclusive;
  const PoolUsage usage = pool_.usage();
  ASSERT_EQ(usage.prefill + usage.decode + usage.compressed, exclusive);
  ASSERT_EQ(usage.free + usage.prefill + usage.decode + usage.compressed + usage.prefix_cached + usage.shared,
            usage.total);
}

}  // namespace fastcache::kv
