// SPDX-License-Identifier: Apache-2.0
// Keeps the rows whose key and value together carry most of their neighbourhood's weight: squared lengths, as
// shares of a window, multiplied.
// source: CurDKV, arXiv 2509.15038
#include <algorithm>
#include <cmath>

#include "press/registry.h"
#include "press/row_math.h"

namespace fastcache::press {
namespace {

class Cur final : public Press {
 public:
  Cur(int n_sink, int window) : n_sink_(n_sink), window_(window) {}

  PressNeeds needs() const override { return {.keys = true, .values = true}; }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head) scores[head] = score_head(layer, head);
    return scores;
  }

 private:
  HeadScores score_head(const LayerInput& layer, int head) const {
    const int n_rows = layer.n_rows(head), head_dim = layer.head_dim();
    std::vector<float> k(static_cast<size_t>(kTileRows) * head_dim), v(k.size());
    HeadScores scores(n_rows);  // of keys, then of both
    std::vector<float> values(n_rows);
    for (int row = 0; row < n_rows; row += kTileRows) {
      const int n = std::min(kTileRows, n_rows - row);
      layer.read_rows(head, row, n, k.data(), v.data());
      squared_norms(k.data(), n, head_dim, &scores[row]);
      squared_norms(v.data(), n, head_dim, &values[row]);
    }
    for (int row = 0; row < n_rows; row += window_) {
      const int n = std::min(window_, n_rows - row);
      make_shares(std::span{scores}.subspan(row, n));
      make_shares(std::span{values}.subspan(row, n));
    }
    for (int row = 0; row < n_rows; ++row) scores[row] *= values[row];
    make_shares(scores);
    for (int row = 0; row < n_rows && layer.token(head, row) < n_sink_; ++row) scores[row] = 1.0f;
    return scores;
  }

  // Each as a share of their sum. Rows that are not finite have no part in it and become NaN.
  static void make_shares(std::span<float> x) {
    double sum = 0.0;
    for (const float value : x)
      if (std::isfinite(value)) sum += value;
    for (float& value : x) value = sum > 0.0 ? static_cast<float>(value / sum) : value;
    for (float& value : x)
      if (!std::isfinite(value)) value = std::nanf("");
  }

  int n_sink_;
  int window_;
};

constexpr PressNumber kNumbers[] = {kSinkTokens,
                                    {.name = "window",
                                     .standard = 16,
                                     .min = 1,
                                     .max = 1 << 20,
                                     .whole = true,
                                     .help = "rows that a row's lengths are compared with"}};

}  // namespace

extern const PressRow kCur;
constinit const PressRow kCur{.name = "cur",
                              .make = [](const PressParams& p) -> std::unique_ptr<Press> {
                                return std::make_unique<Cur>(static_cast<int>(p.number("n_sink")),
                                                             static_cast<int>(p.number("window")));
                              },
                              .numbers = kNumbers,
                              .summary = "rows whose key and value are long among their neighbours'"};

}  // namespace fastcache::press
