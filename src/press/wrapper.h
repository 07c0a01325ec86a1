// SPDX-License-Identifier: Apache-2.0
// A press around another one: does as that one does where a wrapper says nothing else.
#pragma once

#include <memory>
#include <utility>

#include "press/registry.h"

namespace fastcache::press {

class Wrapper : public Press {
 public:
  explicit Wrapper(std::unique_ptr<Press> inner) : inner_(std::move(inner)) {}

  PressNeeds needs() const override { return inner_->needs(); }
  std::vector<Probe> probes(int first_token, int end_token) const override {
    return inner_->probes(first_token, end_token);
  }
  LayerScores score(const LayerInput& layer) const override { return inner_->score(layer); }

 protected:
  const Press& inner() const { return *inner_; }

 private:
  std::unique_ptr<Press> inner_;
};

}  // namespace fastcache::press
