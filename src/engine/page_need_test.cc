// SPDX-License-Identifier: Apache-2.0
// PageNeed against the real Sequence: grown, forked, cut, compressed with uneven heads.
#include "engine/page_need.h"

#include <gtest/gtest.h>

#include <list>
#include <numeric>

#include "base/test_seed.h"

namespace fastcache::engine {
namespace {

class RandomSequences {
 public:
  RandomSequences(uint64_t seed, kv::KvType type)
      : random_(seed),
        shape_{.n_layers = 2, .n_kv_heads = 3, .type = type},
        pool_({.head_dim = 16, .bytes = size_t{4} << 20, .types = {type}}) {
    sequences_.emplace_back(pool_, shape_);
  }

  void change_one() {
    kv::Sequence& s = any();
    switch (between(0, 3)) {
      case 0: {
        const std::vector<int32_t> ids(between(1, 40), 7);
        (void)s.append_text(ids);
        break;
      }
      case 1:
        if (sequences_.size() < 6) sequences_.push_back(s.fork());
        break;
      case 2:
        s.truncate_to(between(0, s.token_count()));
        break;
      case 3:
        compress(s);
        break;
    }
  }

  void check() {
    for (const kv::Sequence& s : sequences_) {
      const PageNeed need = page_need_of(s, pool_);
      for (int n = 0; n < 80; ++n)
        ASSERT_EQ(need.pages_for(n), static_cast<int64_t>(s.pages_to_append(n))) << n << " tokens";
    }
  }

  // What after() predicts is what is there when the tokens were appended.
  void check_after() {
    kv::Sequence& s = any();
    const int n = between(1, 50);
    const PageNeed later = page_need_of(s, pool_).after(n);
    if (!s.append_text(std::vector<int32_t>(n, 7))) return;
    for (int more = 0; more < 80; ++more)
      ASSERT_EQ(later.pages_for(more), static_cast<int64_t>(s.pages_to_append(more)));
  }

  // The pages that prompt and forks really take.
  void check_forks() {
    kv::Sequence s(pool_, shape_);
    (void)s.append_text(std::vector<int32_t>(between(1, 40), 7));
    const int n_tokens = between(1, 40), n_forks = between(1, 4), n_answer = between(0, 40);
    const int64_t predicted = pages_with_forks(page_need_of(s, pool_), n_tokens, n_forks, n_answer);
    const auto before = static_cast<int64_t>(pool_.free_pages());
    std::list<kv::Sequence> forks;
    bool fits = s.append_text(std::vector<int32_t>(n_tokens, 7));
    for (int i = 1; i < n_forks; ++i) forks.push_back(s.fork());
    for (kv::Sequence& fork : forks) fits = fits && fork.append_text(std::vector<int32_t>(n_answer, 7));
    if (!fits || !s.append_text(std::vector<int32_t>(n_answer, 7))) return;
    ASSERT_EQ(before - static_cast<int64_t>(pool_.free_pages()), predicted);
  }

 private:
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  kv::Sequence& any() {
    return *std::next(sequences_.begin(), between(0, static_cast<int>(sequences_.size()) - 1));
  }

  void compress(kv::Sequence& s) {
    for (int layer = 0; layer < shape_.n_layers; ++layer)
      for (int head = 0; head < shape_.n_kv_heads; ++head) {
        std::vector<int32_t> rows(s.rows_held(layer, head));
        std::iota(rows.begin(), rows.end(), 0);
        rows.resize(between(0, static_cast<int>(rows.size())));
        (void)s.keep_rows(layer, head, rows);
      }
  }

  std::mt19937_64 random_;
  kv::CacheShape shape_;
  kv::PagePool pool_;
  std::list<kv::Sequence> sequences_;
};

TEST(PageNeed, IsWhatTheSequenceTakes) {
  for (const kv::KvType type : {kv::KvType::f32, kv::KvType::bf16, kv::KvType::int8}) {
    RandomSequences sequences(test_seed(), type);
    for (int i = 0; i < 300 && !::testing::Test::HasFailure(); ++i) {
      sequences.change_one();
      sequences.check();
      sequences.check_after();
      sequences.check_forks();
    }
  }
}

TEST(PageNeed, TokensWithinIsTheLargestNumberThatFits) {
  std::mt19937_64 random(test_seed());
  for (int run = 0; run < 2000; ++run) {
    PageNeed need = empty_page_need(static_cast<int>(random() % 4), 1 + static_cast<int>(random() % 16));
    need.heads_with_room[random() % need.rows_per_page] += static_cast<int>(random() % 4);
    need.shared_tails = static_cast<int>(random() % 3);
    const int most = static_cast<int>(random() % 60);
    const auto pages = static_cast<int64_t>(random() % 30);
    int expected = 0;
    while (expected < most && need.pages_for(expected + 1) <= pages) ++expected;
    ASSERT_EQ(need.tokens_within(most, pages), expected) << "run " << run;
  }
}

}  // namespace
}  // namespace fastcache::engine
