// SPDX-License-Identifier: Apache-2.0
// Presses that choose by scores beside kvpress, an independent implementation (tools/golden): the same
// tensors, random ones and those of a real prompt, must give the same scores and the same rows.
//
// Where both put rows above all others (sinks, windows of recent tokens), the number differs and is not
// compared: kvpress adds 1 to the highest score, which would drown the scores where a wrapper averages or
// compares them; ours is the highest score itself or a little more.
#include "press/golden_cache.h"

namespace fastcache::press {
namespace {

constexpr double kTolerance = 1e-3;  // relative
constexpr double kRounding = 1e-6;   // of the head's largest score: sums in f32 that cancel out

struct ScoreRange {
  int begin = 0, end = 0;  // rows whose scores are comparable; those outside are above them
  double steps = 0;        // the scores are places: that much is one place
};

// The default of complete() is kvpress' default where the text says nothing.
ScoreRange comparable(const PressParams& params, int n_tokens) {
  if (params.name == "snapkv" || params.name == "pyramidkv")
    return {.end = n_tokens - static_cast<int>(params.number("window"))};
  if (params.name == "tova") return {.end = n_tokens - 1};
  if (params.name == "expected_attention")
    return {.begin = static_cast<int>(params.number("n_sink")), .end = n_tokens};
  if (params.name != "lagkv") return {.end = n_tokens};
  const int n_sink = static_cast<int>(params.number("n_sink")), lag = static_cast<int>(params.number("lag"));
  if (n_tokens < n_sink + 2 * lag) return {.begin = n_sink, .end = n_tokens};
  return {.begin = n_sink,
          .end = n_sink + ((n_tokens - n_sink) / lag - 1) * lag,
          .steps = params.number("cross_scoring") == 0 ? 1.0 / lag : 0.0};
}

// How far a score may be from the right one, of a head whose largest is that.
double tolerance(const ScoreRange& range, double right, double largest) {
  if (range.steps > 0) return 1.01 * range.steps;  // two near scores that rounding turned round
  return kTolerance * std::abs(right) + kRounding * largest;
}

double largest_score(const float* scores, const ScoreRange& range) {
  double largest = 0;
  for (int row = range.begin; row < range.end; ++row)
    largest = std::max(largest, static_cast<double>(std::abs(scores[row])));
  return largest;
}

bool is_plain(const PressParams& params) { return find_press(params.name).wrap == nullptr; }

void expect_same_scores(const HeadScores& ours, const float* theirs, const ScoreRange& range) {
  const double largest = largest_score(theirs, range);
  int n_turned = 0;
  for (int row = range.begin; row < range.end; ++row) {
    const double right = theirs[row];
    ASSERT_NEAR(ours[row], right, tolerance(range, right, largest)) << "row " << row;
    n_turned += std::abs(ours[row] - right) > range.steps / 2 ? 1 : 0;
  }
  EXPECT_TRUE(range.steps == 0 || n_turned <= 4) << n_turned << " places differ";
  if (range.begin == range.end) return;
  const float highest = *std::max_element(ours.begin() + range.begin, ours.begin() + range.end);
  for (int row = 0; row < static_cast<int>(ours.size()); ++row)
    ASSERT_TRUE((row >= range.begin && row < range.end) || ours[row] >= highest) << "row " << row;
}

TEST(Golden, ScoresAreKvpressS) {
  int n_compared = 0;
  for (const std::string& path : golden_files()) {
    const GoldenCache cache(path);
    for (const std::string& text : cache.names_behind("scores:")) {
      SCOPED_TRACE(path + ": " + text);
      const PressParams params = GoldenPress{"0.5", text}.params();
      const auto press = make_press(params);
      const auto record = cache.record(press->needs());
      const ScoreRange range = comparable(params, cache.n_tokens);
      for (int layer = 0; layer < cache.n_layers; ++layer) {
        const LayerScores scores = press->score({cache.pool, cache.sequence, layer, false, record.get()});
        for (int head = 0; head < cache.n_kv_heads; ++head) {
          SCOPED_TRACE(testing::Message() << "layer " << layer << " head " << head);
          expect_same_scores(scores[head],
                             cache.tensors.at("scores:" + text).row(layer * cache.n_kv_heads + head), range);
        }
      }
      ++n_compared;
    }
  }
  EXPECT_GE(n_compared, 4 * 14) << "files or scores are missing: make golden";
}

// The rows that only one side keeps must be as good as the last one that kvpress keeps.
void expect_same_rows(const std::set<int>& ours, const std::set<int>& theirs, const float* scores,
                      const ScoreRange& range) {
  ASSERT_EQ(ours.size(), theirs.size());
  if (ours == theirs) return;
  ASSERT_NE(scores, nullptr) << "no two rows are alike here";
  double border = std::numeric_limits<double>::infinity();
  for (const int row : theirs) border = std::min(border, static_cast<double>(scores[row]));
  for (const auto* side : {&ours, &theirs})
    for (const int row : *side)
      if (!ours.contains(row) || !theirs.contains(row)) {
        EXPECT_NEAR(scores[row], border, tolerance(range, border, largest_score(scores, range)))
            << "row " << row << (side == &ours ? " is kept by us alone" : " is kept by kvpress alone");
      }
}

TEST(Golden, RowsThatStayAreKvpressS) {
  int n_compared = 0;
  for (const std::string& path : golden_files()) {
    GoldenCache cache(path);
    for (const GoldenPress& press : cache.presses()) {
      const PressParams params = press.params();
      if (!is_plain(params) || params.name == "pyramidkv") continue;  // golden_wrappers_test
      SCOPED_TRACE(testing::Message() << path << ": " << press);
      const RowSets ours = cache.our_rows(params), theirs = cache.their_rows(press);
      const auto scores = cache.tensors.find("scores:" + press.text);
      for (int pair = 0; pair < cache.n_pairs(); ++pair) {
        SCOPED_TRACE(testing::Message() << "pair " << pair);
        expect_same_rows(ours[pair], theirs[pair],
                         scores == cache.tensors.end() ? nullptr : scores->second.row(pair),
                         comparable(params, cache.n_tokens));
      }
      ++n_compared;
    }
  }
  EXPECT_GE(n_compared, 4 * 3 * 14) << "files or rows are missing: make golden";
}

}  // namespace
}  // namespace fastcache::press
