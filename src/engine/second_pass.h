// SPDX-License-Identifier: Apache-2.0
// The texts of a press's extra passes over a prompt (press::Probe), as tokens. Any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/vocab.h"
#include "press/press.h"

namespace fastcache::engine {

// One for each pass, none of them empty. first_token: of the prompt's new ones.
std::vector<std::vector<int32_t>> probe_texts(const press::Press& press, const model::Vocab& vocab,
                                              std::span<const int32_t> prompt, int first_token);

}  // namespace fastcache::engine
