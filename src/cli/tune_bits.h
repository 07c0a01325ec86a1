// SPDX-License-Identifier: Apache-2.0
// `fastcache presses --tune-bits`: which layer of a model needs how many bits.
#pragma once

#include <string>

#include "cli/options.h"

namespace fastcache::cli {

struct TuneBitsOptions {
  ModelOptions model;
  double average_bits = 4;
  int n_residual = 128;
  std::string text_path;
};

// Returns the option that asks for it.
CLI::Option* add_tune_bits_options(CLI::App& command, TuneBitsOptions& options);

// Loads the model and measures. The table, or JSON. Throws Error.
std::string tune_bits(const TuneBitsOptions& options, bool json);

}  // namespace fastcache::cli
