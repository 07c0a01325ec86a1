// SPDX-License-Identifier: Apache-2.0
// For tests of what lies below: new rows with biases. Rows that stay are chosen at random; each of the others
// is folded into the one that stays whose key is nearest. A row that stands for m rows has their mean K and V
// and the bias ln m, so folding rows of equal keys changes no attention.
#include <algorithm>
#include <cmath>
#include <limits>

#include "press/allocate.h"
#include "press/random_score.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

struct Rows {  // of one head
  int n = 0, head_dim = 0;
  std::vector<float> k{}, v{};  // [n, head_dim]
  std::vector<double> mass{};   // [n]: how many rows each stands for

  bool is_finite(int row) const {
    double sum = 0;
    for (int d = 0; d < head_dim; ++d) sum += std::abs(k[at(row) + d]) + std::abs(v[at(row) + d]);
    return std::isfinite(sum);
  }
  double distance(int a, int b) const {
    double sum = 0;
    for (int d = 0; d < head_dim; ++d) {
      const double apart = static_cast<double>(k[at(a) + d]) - k[at(b) + d];
      sum += apart * apart;
    }
    return sum;
  }
  size_t at(int row) const { return static_cast<size_t>(row) * head_dim; }
};

Rows read_all(const LayerInput& layer, int head) {
  const int n = layer.n_rows(head), head_dim = layer.head_dim();
  Rows rows{.n = n, .head_dim = head_dim, .mass = std::vector<double>(n)};
  rows.k.resize(rows.at(n));
  rows.v.resize(rows.at(n));
  layer.read_rows(head, 0, n, rows.k.data(), rows.v.data());
  std::vector<float> bias(n);
  layer.read_biases(head, 0, n, bias.data());
  for (int row = 0; row < n; ++row) rows.mass[row] = std::exp(static_cast<double>(bias[row]));
  return rows;
}

// [rows]: the one that each goes into; itself if it stays, -1 for a row that has no good place.
std::vector<int> places(const Rows& rows, const std::vector<int32_t>& kept) {
  std::vector<int> place(rows.n, -1);
  for (int row = 0; row < rows.n; ++row) {
    if (!rows.is_finite(row)) continue;
    double nearest = std::numeric_limits<double>::infinity();
    for (const int32_t other : kept) {
      const double distance = rows.distance(row, other);
      if (!(distance < nearest) || !rows.is_finite(other)) continue;
      nearest = distance;
      place[row] = other;
    }
  }
  for (const int32_t row : kept) place[row] = row;
  return place;
}

class TestMerging final : public Press {
 public:
  explicit TestMerging(uint64_t seed) : seed_(seed) {}

  PressNeeds needs() const override { return {.keys = true, .values = true, .seed = true, .new_rows = true}; }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head)
      for (int row = 0; row < layer.n_rows(head); ++row)
        scores[head].push_back(random_score(seed_, layer.layer(), head, layer.token(head, row)));
    return scores;
  }

  Edit apply(const LayerInput& layer, int head, std::span<const float> scores, int n_keep) const override {
    Edit edit{.rows = best_rows_ascending(scores, n_keep)};
    if (n_keep == 0 || n_keep == layer.n_rows(head)) return edit;
    const Rows rows = read_all(layer, head);
    const std::vector<int> place = places(rows, edit.rows);
    for (const int32_t kept : edit.rows) add_mean(rows, place, kept, edit);
    return edit;
  }

 private:
  static void add_mean(const Rows& rows, const std::vector<int>& place, int kept, Edit& edit) {
    std::vector<double> k(rows.head_dim), v(rows.head_dim);
    double mass = 0;
    for (int row = 0; row < rows.n; ++row) {
      if (place[row] != kept) continue;
      mass += rows.mass[row];
      for (int d = 0; d < rows.head_dim; ++d) {
        k[d] += rows.mass[row] * rows.k[rows.at(row) + d];
        v[d] += rows.mass[row] * rows.v[rows.at(row) + d];
      }
    }
    for (const double sum : k) edit.k.push_back(static_cast<float>(sum / mass));
    for (const double sum : v) edit.v.push_back(static_cast<float>(sum / mass));
    edit.bias.push_back(static_cast<float>(std::log(mass)));
  }

  uint64_t seed_;
};

}  // namespace

extern const PressRow kTestMerging;
constinit const PressRow kTestMerging{
    .name = "test_merging",
    .make = [](const PressParams& p) -> std::unique_ptr<Press> {
      return std::make_unique<TestMerging>(p.seed);
    },
    .numbers = {},
    .summary = "for tests: rows that go are folded into those that stay, at random",
    .plain_scores = false};

}  // namespace fastcache::press
