// SPDX-License-Identifier: Apache-2.0
// Scores and selects in each stretch of rows by itself, so that every part of a long text keeps its share.
// source: FINCH's chunks, arXiv 2408.00167
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "press/allocate.h"
#include "press/wrapper.h"

namespace fastcache::press {
namespace {

class Chunk final : public Wrapper {
 public:
  Chunk(std::unique_ptr<Press> inner, int length) : Wrapper(std::move(inner)), length_(length) {}

  LayerScores score(const LayerInput& layer) const override {
    const int n_kv_heads = layer.n_kv_heads();
    int n_rows = 0;
    for (int head = 0; head < n_kv_heads; ++head) n_rows = std::max(n_rows, layer.n_rows(head));
    LayerScores scores(n_kv_heads);
    for (int begin = 0; begin < n_rows; begin += std::min(length_, n_rows - begin)) {
      std::vector<std::vector<int32_t>> rows(n_kv_heads);
      for (int head = 0; head < n_kv_heads; ++head) {
        const int n = std::clamp(layer.n_rows(head) - begin, 0, length_);
        rows[head].resize(n);
        std::iota(rows[head].begin(), rows[head].end(), begin);
      }
      const LayerScores here = inner().score(layer.narrowed(rows));
      for (int head = 0; head < n_kv_heads; ++head)
        scores[head].insert(scores[head].end(), here[head].begin(), here[head].end());
    }
    return scores;
  }

  // n_keep is shared out in proportion to the stretches' lengths, rounded so that the sum is exact.
  Edit apply(const LayerInput& /*layer*/, int /*head*/, std::span<const float> scores,
             int n_keep) const override {
    const auto n_rows = static_cast<int64_t>(scores.size());
    Edit edit;
    for (int64_t begin = 0, end = 0; begin < n_rows; begin = end) {
      end = std::min(n_rows, begin + length_);
      const auto n_here = static_cast<int>(n_keep * end / n_rows - n_keep * begin / n_rows);
      for (const int32_t row : best_rows_ascending(scores.subspan(begin, end - begin), n_here))
        edit.rows.push_back(static_cast<int32_t>(begin) + row);
    }
    return edit;
  }

 private:
  int length_;
};

constexpr PressNumber kNumbers[] = {{.name = "chunk_length",
                                     .standard = 1024,
                                     .min = 1,
                                     .max = 1 << 20,
                                     .whole = true,
                                     .help = "rows that are scored and selected by themselves"}};

// What is known of the prompt as a whole is not known of its stretches.
void check_wrapped(const PressParams& p, const PressNeeds& needs) {
  if (!needs.looks_at_queries() && !needs.second_pass && !needs.hidden_states && !needs.question_boundary)
    return;
  throw Error{Code::unsupported, "press 'chunk' cannot wrap '" + p.inner[0].name +
                                     "', which scores by queries or a question that each stretch lacks; "
                                     "choose one that scores by keys and values"};
}

}  // namespace

extern const PressRow kChunk;
constinit const PressRow kChunk{
    .name = "chunk",
    .numbers = kNumbers,
    .summary = "each stretch of rows by itself",
    .plain_scores = false,
    .wrap = [](const PressParams& p, std::vector<std::unique_ptr<Press>> inner) -> std::unique_ptr<Press> {
      check_wrapped(p, inner[0]->needs());
      return std::make_unique<Chunk>(std::move(inner[0]), static_cast<int>(p.number("chunk_length")));
    },
    .min_inner = 1,
    .max_inner = 1};

}  // namespace fastcache::press
