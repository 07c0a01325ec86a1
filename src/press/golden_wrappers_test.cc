// SPDX-License-Identifier: Apache-2.0
// Presses with budgets or selections of their own beside kvpress (tools/golden): which rows stay. Our totals
// are exact, those of kvpress follow each method's rounding; each test says what that changes.
#include "press/golden_cache.h"

namespace fastcache::press {
namespace {

// compare(cache, press) for the presses of all files that have this name; how many there were.
template <typename Compare>
void for_each_golden(const std::string& name, int n_at_least, const Compare& compare) {
  int n = 0;
  for (const std::string& path : golden_files()) {
    GoldenCache cache(path);
    for (const GoldenPress& press : cache.presses()) {
      if (parse_press(press.text).name != name) continue;
      SCOPED_TRACE(testing::Message() << path << ": " << press);
      compare(cache, press);
      ++n;
    }
  }
  EXPECT_GE(n, n_at_least) << "files or rows are missing: make golden";
}

bool is_within(const std::set<int>& some, const std::set<int>& all) {
  return std::includes(all.begin(), all.end(), some.begin(), some.end());
}

// The same order of rows, but one more of them kept.
bool one_goes_further(const std::set<int>& a, const std::set<int>& b) {
  return is_within(a, b) || is_within(b, a);
}

std::set<int> rows_between(const std::set<int>& rows, int begin, int end) {
  return {rows.lower_bound(begin), rows.lower_bound(end)};
}

void expect_same_rows(GoldenCache& cache, const GoldenPress& press) {
  const RowSets ours = cache.our_rows(press.params()), theirs = cache.their_rows(press);
  for (int pair = 0; pair < cache.n_pairs(); ++pair) EXPECT_EQ(ours[pair], theirs[pair]) << "pair " << pair;
}

TEST(GoldenAdaKv, RowsThatStayAreKvpressS) { for_each_golden("adakv", 4 * 3 * 3, expect_same_rows); }

TEST(GoldenPerLayer, RowsThatStayAreKvpressS) { for_each_golden("per_layer", 4 * 2, expect_same_rows); }

TEST(GoldenComposed, RowsThatStayAreKvpressS) { for_each_golden("composed", 4, expect_same_rows); }

// Of a window larger than the first half of the budget, kvpress keeps all rows in the second half too,
// because it scores them 1 above all others; ours multiplies their norms with scores that are just the
// highest, so some make room for rows in front.
TEST(GoldenCriticalKv, RowsThatStayAreKvpressS) {
  for_each_golden("criticalkv", 4 * 3 * 3, [](GoldenCache& cache, const GoldenPress& press) {
    const PressParams params = press.params();
    const PressParams& inner = params.inner[0];
    const int window = inner.name == "snapkv" ? static_cast<int>(inner.number("window")) : 0;
    const RowSets ours = cache.our_rows(params), theirs = cache.their_rows(press);
    for (int pair = 0; pair < cache.n_pairs(); ++pair) {
      SCOPED_TRACE(testing::Message() << "pair " << pair);
      if (window <= static_cast<int>(ours[pair].size()) / 2) {
        EXPECT_EQ(ours[pair], theirs[pair]);
        continue;
      }
      const int in_front = cache.n_tokens - window;
      EXPECT_EQ(ours[pair].size(), theirs[pair].size());
      EXPECT_TRUE(is_within(rows_between(theirs[pair], 0, in_front), rows_between(ours[pair], 0, in_front)));
    }
  });
}

// kvpress takes the slope of a budget that is no whole number and rounds each layer by itself; ours takes
// that of whole rows, so that all layers together have exactly as many as without the slope. The first
// layer's share is up to twice the budget, so 2 rows may differ. Where the budget is smaller than the window,
// kvpress keeps any rows of the window, ours the most recent ones. A model of one layer keeps the first
// layer's share in kvpress, in ours what the ratio says.
TEST(GoldenPyramidKv, LayersKeepWhatKvpressSDoButForTwoRows) {
  for_each_golden("pyramidkv", 4 * 3, [](GoldenCache& cache, const GoldenPress& press) {
    const PressParams params = press.params();
    const int window = cache.n_tokens - static_cast<int>(params.number("window"));
    const RowSets ours = cache.our_rows(params), theirs = cache.their_rows(press);
    for (int pair = 0; pair < cache.n_pairs(); ++pair) {
      SCOPED_TRACE(testing::Message() << "pair " << pair);
      if (cache.n_layers > 1) {
        EXPECT_NEAR(static_cast<double>(ours[pair].size()), static_cast<double>(theirs[pair].size()), 2.0);
      } else {
        EXPECT_EQ(static_cast<int>(ours[pair].size()), params.how_much().rows_kept(cache.n_tokens, 0));
      }
      EXPECT_TRUE(
          one_goes_further(rows_between(ours[pair], 0, window), rows_between(theirs[pair], 0, window)));
      const std::set<int> recent = rows_between(ours[pair], window, cache.n_tokens);
      EXPECT_EQ(recent.size(), std::min(ours[pair].size(), static_cast<size_t>(cache.n_tokens - window)));
      EXPECT_EQ(recent.empty() ? cache.n_tokens : *recent.begin(),
                cache.n_tokens - static_cast<int>(recent.size()));
    }
  });
}

// kvpress keeps whole chunks, another number of rows than the ratio says, and not the same in all layers
// where the short last chunk goes. Ours counts rows, so a chunk may be cut; given kvpress' number of rows it
// keeps the same chunks.
TEST(GoldenChunkKv, ChunksThatStayAreKvpressS) {
  for_each_golden("chunkkv", 4 * 3 * 4, [](GoldenCache& cache, const GoldenPress& press) {
    const RowSets theirs = cache.their_rows(press), ours = cache.our_rows(press.params());
    for (int pair = 0; pair < cache.n_pairs(); ++pair) {
      SCOPED_TRACE(testing::Message() << "pair " << pair);
      EXPECT_TRUE(one_goes_further(ours[pair], theirs[pair]));
      const int n_theirs = static_cast<int>(theirs[pair].size());
      const PressParams params = complete(parse_press(press.text, {.budget = n_theirs}));
      EXPECT_EQ(cache.our_rows(params)[pair], theirs[pair]);
    }
  });
}

// kvpress rounds down in every stretch, so that all together keep fewer rows than the ratio says; ours shares
// all of them out.
TEST(GoldenChunk, StretchesKeepWhatKvpressSDoButForARow) {
  for_each_golden("chunk", 4 * 3 * 2, [](GoldenCache& cache, const GoldenPress& press) {
    const PressParams params = press.params();
    const int length = static_cast<int>(params.number("chunk_length"));
    const RowSets ours = cache.our_rows(params), theirs = cache.their_rows(press);
    for (int pair = 0; pair < cache.n_pairs(); ++pair)
      for (int begin = 0; begin < cache.n_tokens; begin += length) {
        const std::set<int> of_ours = rows_between(ours[pair], begin, begin + length);
        const std::set<int> of_theirs = rows_between(theirs[pair], begin, begin + length);
        EXPECT_TRUE(one_goes_further(of_ours, of_theirs)) << "pair " << pair << " from row " << begin;
        EXPECT_NEAR(static_cast<double>(of_ours.size()), static_cast<double>(of_theirs.size()), 1.0)
            << "pair " << pair << " from row " << begin;
      }
  });
}

}  // namespace
}  // namespace fastcache::press
