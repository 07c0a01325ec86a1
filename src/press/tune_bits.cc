// SPDX-License-Identifier: Apache-2.0
#include "press/tune_bits.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "kv/head_reader.h"
#include "kv/quantized_page.h"

namespace fastcache::press {
namespace {

struct Rows {  // of one head, f32
  int n = 0;
  int head_dim = 0;
  std::vector<float> k, v;  // [n, head_dim]
};

Rows stored_rows(const kv::PagePool& pool, const kv::Sequence& sequence, int layer, int head) {
  Rows rows{.n = sequence.rows_held(layer, head), .head_dim = pool.head_dim(), .k = {}, .v = {}};
  rows.k.resize(static_cast<size_t>(rows.n) * rows.head_dim);
  rows.v.resize(rows.k.size());
  kv::read_head_rows(pool.memory(), rows.head_dim, sequence.head_rows(layer, head), 0, rows.n, rows.k.data(),
                     rows.v.data());
  return rows;
}

// The rows as they would come back from pages of the type.
Rows quantized(const Rows& stored, kv::KvType type, int n_residual) {
  Rows rows = stored;
  const int per_page = kv::rows_per_page(type, rows.head_dim);
  const int end = std::max(0, rows.n - n_residual);
  std::vector<std::byte> page(kv::page_payload_bytes(rows.head_dim));
  for (int first = 0; first < end; first += per_page) {
    const int n = std::min(per_page, end - first);
    const size_t offset = static_cast<size_t>(first) * rows.head_dim;
    std::fill(page.begin(), page.end(), std::byte{0});
    const kv::PageRef ref{page.data(), nullptr};
    kv::quantize_page(ref, type, rows.head_dim, n, &stored.k[offset], &stored.v[offset]);
    kv::read_rows(ref, type, rows.head_dim, 0, n, &rows.k[offset], &rows.v[offset]);
  }
  return rows;
}

struct Seen {  // rows [begin, end)
  int begin = 0;
  int end = 0;
};

// Attention of one query over the rows that it sees. out: [head_dim].
void attend(const Rows& rows, Seen seen, const float* q, const attention::AttentionShape& shape,
            std::vector<double>& weights, std::vector<double>& out) {
  weights.resize(static_cast<size_t>(seen.end));
  double max = -std::numeric_limits<double>::infinity();
  for (int row = seen.begin; row < seen.end; ++row) {
    const float* k = &rows.k[static_cast<size_t>(row) * rows.head_dim];
    float dot = 0;
    for (int d = 0; d < rows.head_dim; ++d) dot += q[d] * k[d];
    double score = static_cast<double>(dot) * static_cast<double>(shape.scale);
    if (shape.softcap > 0) score = shape.softcap * std::tanh(score / shape.softcap);
    weights[row] = score;
    max = std::max(max, score);
  }
  double sum = 0;
  out.assign(static_cast<size_t>(rows.head_dim), 0);
  for (int row = seen.begin; row < seen.end; ++row) {
    const double weight = std::exp(weights[row] - max);
    const float* v = &rows.v[static_cast<size_t>(row) * rows.head_dim];
    sum += weight;
    for (int d = 0; d < rows.head_dim; ++d) out[d] += weight * static_cast<double>(v[d]);
  }
  for (double& x : out) x /= sum;
}

// Of one KV head: the errors of its query heads, added up over heads and queries.
BitErrors head_errors(const kv::PagePool& pool, const kv::Sequence& sequence,
                      const model::QueryRecord& record, int layer, int head, int n_residual) {
  const attention::AttentionShape shape = attention::layer_shape(record.attention, layer);
  const int group = shape.n_heads / shape.n_kv_heads;
  const Rows stored = stored_rows(pool, sequence, layer, head);
  Rows by_bits[kTunedBits.size()];
  for (size_t b = 0; b < kTunedBits.size(); ++b)
    by_bits[b] = quantized(stored, kv::quantized_type(kTunedBits[b]), n_residual);
  BitErrors errors{};
  std::vector<double> weights, truth, out;
  const kv::HeadTable& table = sequence.table(layer, head);
  for (int i = 0; i < record.last.n_tokens(); ++i) {
    const int token = record.last.first_token() + i;
    const int first_seen = shape.window > 0 ? token - shape.window + 1 : 0;
    const Seen seen{table.rows_before_token(first_seen), table.rows_before_token(token + 1)};
    if (seen.begin == seen.end) continue;
    for (int h = head * group; h < (head + 1) * group; ++h) {
      const float* q = record.last.at(layer, token) + static_cast<size_t>(h) * stored.head_dim;
      attend(stored, seen, q, shape, weights, truth);
      double length = 0;
      for (const double x : truth) length += x * x;
      for (size_t b = 0; b < kTunedBits.size(); ++b) {
        attend(by_bits[b], seen, q, shape, weights, out);
        double error = 0;
        for (size_t d = 0; d < out.size(); ++d) error += (out[d] - truth[d]) * (out[d] - truth[d]);
        if (length > 0) errors[b] += error / length;
      }
    }
  }
  return errors;
}

}  // namespace

std::vector<BitErrors> measure_bit_errors(const kv::PagePool& pool, const kv::Sequence& sequence,
                                          const model::QueryRecord& record, int n_residual,
                                          ComputePool& threads) {
  const kv::CacheShape& shape = sequence.shape();
  std::vector<BitErrors> of_heads(static_cast<size_t>(shape.n_heads()));
  threads.parallel_for(shape.n_heads(), [&](int pair) {
    of_heads[pair] =
        head_errors(pool, sequence, record, pair / shape.n_kv_heads, pair % shape.n_kv_heads, n_residual);
  });
  std::vector<BitErrors> errors(static_cast<size_t>(shape.n_layers));
  const double n = std::max(1, record.last.n_tokens() * record.attention.n_heads);
  for (int pair = 0; pair < shape.n_heads(); ++pair)
    for (size_t b = 0; b < kTunedBits.size(); ++b)
      errors[pair / shape.n_kv_heads][b] += of_heads[pair][b] / n;
  return errors;
}

// best[layer][bits]: the smallest sum of errors of the layers before, with so many bits together.
std::vector<int> choose_layer_bits(std::span<const BitErrors> errors, double average_bits) {
  if (!(average_bits >= kTunedBits.front() && average_bits <= kTunedBits.back()))
    throw Error{Code::bad_request,
                fmt::format("an average of {} bits: it must be from 2 to 8", average_bits)};
  for (const BitErrors& of_layer : errors)
    for (const double error : of_layer)
      if (!std::isfinite(error))
        throw Error{Code::invalid_model,
                    "the model computed keys or values that are not finite; its weights are damaged"};
  const int n_layers = static_cast<int>(errors.size());
  const int most = static_cast<int>(std::floor(average_bits * n_layers + 1e-9));
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> best(n_layers + 1, std::vector<double>(most + 1, kNever));
  best[0][0] = 0;
  const auto with = [&](int layer, size_t choice, int bits) {
    const int before = bits - kTunedBits[choice];
    return before < 0 ? kNever : best[layer][before] + errors[layer][choice];
  };
  for (int layer = 0; layer < n_layers; ++layer)
    for (int bits = 0; bits <= most; ++bits)
      for (size_t choice = 0; choice < kTunedBits.size(); ++choice)
        best[layer + 1][bits] = std::min(best[layer + 1][bits], with(layer, choice, bits));
  int bits = static_cast<int>(std::min_element(best[n_layers].begin(), best[n_layers].end()) -
                              best[n_layers].begin());
  std::vector<int> chosen(n_layers);
  for (int layer = n_layers - 1; layer >= 0; --layer) {
    size_t choice = 0;
    while (with(layer, choice, bits) != best[layer + 1][bits]) ++choice;
    chosen[layer] = kTunedBits[choice];
    bits -= kTunedBits[choice];
  }
  return chosen;
}

}  // namespace fastcache::press
