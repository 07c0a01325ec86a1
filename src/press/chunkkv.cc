// SPDX-License-Identifier: Apache-2.0
// Keeps whole chunks of neighbouring tokens, the same in all heads of a layer: those with the highest mean
// score. The budget counts rows, so of the last chunk that stays there may be only the front.
// source: ChunkKV, arXiv 2502.00299
#include <algorithm>
#include <cmath>
#include <numeric>

#include "press/wrapper.h"

namespace fastcache::press {
namespace {

class ChunkKv final : public Wrapper {
 public:
  ChunkKv(std::unique_ptr<Press> inner, int length) : Wrapper(std::move(inner)), length_(length) {}

  // Minus the place of a row's chunk among all chunks: of equal scores the rows in front stay.
  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores = inner().score(layer);
    const int first = first_token(layer);
    const auto chunk = [&](int head, size_t row) {
      return static_cast<size_t>((layer.token(head, static_cast<int>(row)) - first) / length_);
    };
    std::vector<double> sums;
    std::vector<int64_t> n_rows;
    for (int head = 0; head < layer.n_kv_heads(); ++head)
      for (size_t row = 0; row < scores[head].size(); ++row) {
        const size_t c = chunk(head, row);
        if (c >= sums.size()) {
          sums.resize(c + 1);
          n_rows.resize(c + 1);
        }
        sums[c] += scores[head][row];
        ++n_rows[c];
      }
    for (size_t c = 0; c < sums.size(); ++c) sums[c] /= static_cast<double>(n_rows[c]);
    const std::vector<float> places = minus_places(sums);
    for (int head = 0; head < layer.n_kv_heads(); ++head)
      for (size_t row = 0; row < scores[head].size(); ++row) scores[head][row] = places[chunk(head, row)];
    return scores;
  }

 private:
  static int first_token(const LayerInput& layer) {
    int first = std::numeric_limits<int>::max();
    for (int head = 0; head < layer.n_kv_heads(); ++head)
      if (layer.n_rows(head) > 0) first = std::min(first, layer.token(head, 0));
    return first;
  }

  // 0 for the highest mean, -1 for the next; NaN comes last, of equal ones the first in front.
  static std::vector<float> minus_places(const std::vector<double>& means) {
    std::vector<size_t> order(means.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      if (std::isnan(means[a]) || std::isnan(means[b])) return !std::isnan(means[a]) && std::isnan(means[b]);
      return means[a] > means[b];
    });
    std::vector<float> places(means.size());
    for (size_t place = 0; place < order.size(); ++place) places[order[place]] = -static_cast<float>(place);
    return places;
  }

  int length_;
};

constexpr PressNumber kNumbers[] = {{.name = "chunk_length",
                                     .standard = 20,
                                     .min = 1,
                                     .max = 1 << 20,
                                     .whole = true,
                                     .help = "tokens that stay or go together"}};

}  // namespace

extern const PressRow kChunkKv;
constinit const PressRow kChunkKv{
    .name = "chunkkv",
    .numbers = kNumbers,
    .summary = "whole chunks of tokens, the same in all heads of a layer",
    .plain_scores = false,
    .wrap = [](const PressParams& p, std::vector<std::unique_ptr<Press>> inner) -> std::unique_ptr<Press> {
      return std::make_unique<ChunkKv>(std::move(inner[0]), static_cast<int>(p.number("chunk_length")));
    },
    .min_inner = 1,
    .max_inner = 1};

}  // namespace fastcache::press
