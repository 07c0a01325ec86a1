// SPDX-License-Identifier: Apache-2.0
// Keeps all rows, but in fewer bits: K scaled per channel, V per token, over the rows of a page. The last
// rows, the residual window, and all that is decoded stay in the sequence's own type; a later turn's
// compression quantises them too. With layer_bits each layer has the bits that it needs.
// source: KIVI, arXiv 2402.02750; bits per layer: KVTuner, arXiv 2502.04420
#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "base/error.h"
#include "kv/quantized_page.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

constexpr int kOwnType = 16;  // bits of a layer that stays as it is

// Throws Error (bad_request).
int checked_bits(double bits, bool of_layer) {
  if (bits == 2 || bits == 4 || bits == 8 || (of_layer && bits == kOwnType)) return static_cast<int>(bits);
  throw Error{
      Code::bad_request,
      fmt::format("press 'quantized': {} = {} must be {}", of_layer ? "a number of layer_bits" : "bits", bits,
                  of_layer ? "2, 4, 8, or 16 for a layer that stays as it is" : "2, 4 or 8")};
}

class Quantized final : public Press {
 public:
  Quantized(int bits, std::vector<int> layer_bits, int n_residual)
      : bits_(bits), layer_bits_(std::move(layer_bits)), n_residual_(n_residual) {}

  PressNeeds needs() const override {
    PressNeeds needs{.n_layers = static_cast<int>(layer_bits_.size())};
    if (layer_bits_.empty()) needs.page_bits = bits_;
    for (const int bits : layer_bits_)
      if (bits != kOwnType) needs.page_bits = std::max(needs.page_bits, bits);
    return needs;
  }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores;
    for (int head = 0; head < layer.n_kv_heads(); ++head) scores.emplace_back(layer.n_rows(head), 0.0f);
    return scores;
  }

  Edit apply(const LayerInput& layer, int head, std::span<const float> scores, int n_keep) const override {
    Edit edit = Press::apply(layer, head, scores, n_keep);
    const int bits = layer_bits_.empty() ? bits_ : layer_bits_[layer.layer()];
    if (bits != kOwnType) edit.format = Format{.type = kv::quantized_type(bits), .n_residual = n_residual_};
    return edit;
  }

 private:
  int bits_;
  std::vector<int> layer_bits_;  // [n_layers], or empty
  int n_residual_;
};

constexpr PressNumber kNumbers[] = {
    {.name = "bits", .standard = 4, .min = 2, .max = 8, .whole = true, .help = "of an element: 2, 4 or 8"},
    {.name = "residual",
     .standard = 128,
     .min = 0,
     .max = 1 << 20,
     .whole = true,
     .help = "last rows of a head that stay in the cache's own type"},
    {.name = "layer_bits",
     .min = 2,
     .max = kOwnType,
     .whole = true,
     .list = true,
     .may_lack = true,
     .help = "bits for each layer of the model, instead of bits; 16 leaves a layer as it is"}};

}  // namespace

extern const PressRow kQuantized;
constinit const PressRow kQuantized{.name = "quantized",
                                    .make = [](const PressParams& p) -> std::unique_ptr<Press> {
                                      std::vector<int> layer_bits;
                                      if (const auto list = p.lists.find("layer_bits"); list != p.lists.end())
                                        for (const double bits : list->second)
                                          layer_bits.push_back(checked_bits(bits, true));
                                      return std::make_unique<Quantized>(
                                          checked_bits(p.number("bits"), false), std::move(layer_bits),
                                          static_cast<int>(p.number("residual")));
                                    },
                                    .numbers = kNumbers,
                                    .removes = false,
                                    .summary = "keeps everything, in fewer bits",
                                    .plain_scores = false};

}  // namespace fastcache::press
