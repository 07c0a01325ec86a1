// SPDX-License-Identifier: Apache-2.0
// The seam of methods that drop tokens inside the graph (FastV, SparseVLM): behind one layer some of a step's
// tokens go no further. The layers behind it neither compute them nor hold rows of them; the layers up to it
// keep theirs. Not a press: it saves compute of the prompt itself, and it decides while the graph runs.
//
// It sees one step. A method that wants all of a prompt's tokens and the last one together needs them in one
// step; whoever cuts prompts into chunks must not cut there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fastcache::model {

class TokenPruner {
 public:
  virtual ~TokenPruner() = default;

  // Behind which layer: 0 .. n_layers - 2, and the same in each call.
  virtual int after_layer() const = 0;

  // Of the sequence's n_new tokens of this step those that go on, strictly ascending; the last is one of
  // them. attention: [n_new], what the step's last token pays to each of them in that layer, mean over the
  // query heads. On the engine thread, between two layers.
  virtual std::vector<int32_t> keep(std::span<const float> attention) const = 0;
};

}  // namespace fastcache::model
