// SPDX-License-Identifier: Apache-2.0
// For tests: the tensors of a golden file as a sequence with a record of its queries, and what kvpress made
// of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "attention/rope.h"
#include "linear/linear.h"
#include "press/compress.h"
#include "press/golden_file.h"
#include "press/press_string.h"
#include "press/query_attention.h"
#include "press/registry.h"

namespace fastcache::press {

inline std::vector<std::string> golden_files() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator("src/press/testdata"))
    if (entry.path().extension() == ".golden") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

// A press that kvpress was asked for.
struct GoldenPress {
  std::string ratio;  // as the file has it: "0.5", or "own" where the text says it
  std::string text;

  PressParams params() const {
    return complete(ratio == "own" ? parse_press(text) : parse_press(text, {.ratio = std::stod(ratio)}));
  }
  friend std::ostream& operator<<(std::ostream& out, const GoldenPress& press) {
    return out << press.text << " at " << press.ratio;
  }
};

using RowSets = std::vector<std::set<int>>;  // [pair]: rows that stay

struct GoldenCache {
  explicit GoldenCache(const std::string& path)
      : tensors(read_golden_file(path)),
        n_layers(k().size(0)),
        n_heads(q().size(1)),
        n_kv_heads(k().size(1)),
        n_tokens(k().size(2)),
        head_dim(k().size(3)),
        rope(attention::make_rope_table(attention::RopeStyle::halves, head_dim,
                                        static_cast<double>(tensors.at("theta").numbers[0]))),
        pool({.head_dim = head_dim, .bytes = size_t{8} << 20}),
        sequence(pool, {.n_layers = n_layers, .n_kv_heads = n_kv_heads, .type = kv::KvType::bf16}) {
    if (!sequence.append_text(std::vector<int32_t>(n_tokens, 1)))
      throw std::runtime_error("the test's pool is small");
    for (int pair = 0; pair < n_pairs(); ++pair)
      for (int token = 0; token < n_tokens; ++token) {  // K and V are exact in bf16
        const kv::RowSlot slot = sequence.slot(pair / n_kv_heads, pair % n_kv_heads, token);
        const size_t row = static_cast<size_t>(pair) * n_tokens + token;
        write_row(slot.page, slot.type, head_dim, slot.row, k().row(row), v().row(row));
      }
  }

  const GoldenTensor& q() const { return tensors.at("q"); }
  const GoldenTensor& k() const { return tensors.at("k"); }
  const GoldenTensor& v() const { return tensors.at("v"); }
  int n_pairs() const { return n_layers * n_kv_heads; }

  // [n_tokens, head_dim], before RoPE.
  const float* queries(int layer, int head) const {
    return q().row(static_cast<size_t>(layer * n_heads + head) * n_tokens);
  }

  model::LastQueries last_queries(int n) const {
    const int first = std::max(0, n_tokens - n);
    model::LastQueries last(n_layers, n_heads, head_dim, first, n_tokens);
    std::vector<float> rotated(static_cast<size_t>(n_heads) * head_dim), cos_sin(head_dim);
    for (int token = first; token < n_tokens; ++token) {
      attention::rope_angles(rope, token, cos_sin.data());
      for (int layer = 0; layer < n_layers; ++layer) {
        for (int head = 0; head < n_heads; ++head) {
          float* to = &rotated[static_cast<size_t>(head) * head_dim];
          std::copy_n(queries(layer, head) + static_cast<size_t>(token) * head_dim, head_dim, to);
          attention::rope_rotate(rope, cos_sin.data(), to);
        }
        last.set(layer, token, rotated.data());
      }
    }
    return last;
  }

  // As the steps of a prefill leave it behind for a press with these needs.
  std::unique_ptr<model::QueryRecord> record(const PressNeeds& needs) const {
    auto made = std::make_unique<model::QueryRecord>();
    made->attention = {.n_heads = n_heads,
                       .n_kv_heads = n_kv_heads,
                       .head_dim = head_dim,
                       .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                       .rope = &rope};
    made->last = last_queries(needs.last_queries);
    if (needs.query_statistics) {
      constexpr int kPart = model::QueryMoments::kPartChannels;
      made->moments = {n_layers, n_heads, head_dim, needs.statistics_skip, n_tokens};
      for (int i = 0; i < n_layers * n_heads; ++i)
        for (int part = 0; part < head_dim / kPart; ++part)
          made->moments.add(i / n_heads, i % n_heads, part, 0, n_tokens, queries(i / n_heads, i % n_heads),
                            head_dim);
    }
    if (!needs.received_attention) return made;
    made->received = {n_layers, n_kv_heads, 0, n_tokens};
    made->chunk = last_queries(n_tokens);
    for (int layer = 0; layer < n_layers; ++layer) {
      AttentionScratch scratch;
      observe_attention({pool, sequence, layer, false, made.get()}, scratch, *made);
    }
    return made;
  }

  // W_O of each layer.
  std::vector<linear::PackedMatrix> output_matrices() const {
    const GoldenTensor& w_o = tensors.at("w_o");  // [n_layers, n_out, n_heads * head_dim]
    std::vector<linear::PackedMatrix> matrices;
    for (int layer = 0; layer < n_layers; ++layer) {
      const linear::WeightSource source{.ggml_type = 0,  // f32
                                        .data = w_o.row(static_cast<size_t>(layer) * w_o.size(1)),
                                        .n_out = w_o.size(1),
                                        .n_in = w_o.size(2),
                                        .name = "w_o"};
      matrices.push_back(linear::pack({&source, 1}));
    }
    return matrices;
  }

  // The rows that a press of ours leaves.
  RowSets our_rows(const PressParams& params) {
    const std::unique_ptr<Press> press = make_press(params);
    const auto made = record(press->needs());
    const std::vector<linear::PackedMatrix> matrices = output_matrices();
    std::vector<const linear::PackedMatrix*> output_weights;
    if (press->needs().output_weights)
      for (const linear::PackedMatrix& matrix : matrices) output_weights.push_back(&matrix);
    ComputePool threads{1};
    RowSets rows(n_pairs());
    for (std::set<int>& all : rows)
      for (int row = 0; row < n_tokens; ++row) all.insert(row);
    const CompressJob job{.press = press.get(),
                          .budget = params.how_much(),
                          .pool = &pool,
                          .sequence = &sequence,
                          .record = made.get(),
                          .output_weights = output_weights};
    for (const PlannedHead& planned : plan_compression(job, threads))
      rows[planned.layer * n_kv_heads + planned.head] = {planned.rows.begin(), planned.rows.end()};
    return rows;
  }

  // The rows that kvpress left.
  RowSets their_rows(const GoldenPress& press) const {
    const GoldenTensor& kept = tensors.at("kept at " + press.ratio + ":" + press.text);
    RowSets rows(n_pairs());
    for (int pair = 0; pair < n_pairs(); ++pair)
      for (int row = 0; row < n_tokens; ++row)
        if (kept.row(pair)[row] != 0) rows[pair].insert(row);
    return rows;
  }

  // The names behind a prefix such as "scores:".
  std::vector<std::string> names_behind(const std::string& prefix) const {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : tensors)
      if (name.starts_with(prefix)) names.push_back(name.substr(prefix.size()));
    return names;
  }

  // All presses of which the file has kept rows, at each ratio.
  std::vector<GoldenPress> presses() const {
    std::vector<GoldenPress> made;
    for (const std::string& name : names_behind("kept at ")) {
      const size_t colon = name.find(':');
      made.push_back({.ratio = name.substr(0, colon), .text = name.substr(colon + 1)});
    }
    return made;
  }

  GoldenTensors tensors;
  int n_layers, n_heads, n_kv_heads, n_tokens, head_dim;
  attention::RopeTable rope;
  kv::PagePool pool;
  kv::Sequence sequence;
};

}  // namespace fastcache::press
