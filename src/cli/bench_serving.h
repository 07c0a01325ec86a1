// SPDX-License-Identifier: Apache-2.0
// `fastcache bench --requests`: the options, the table and the JSON of the serving benchmark.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "bench/serving.h"
#include "cli/options.h"

namespace fastcache::cli {

// Returns --requests, which all the others need.
CLI::Option* add_serving_options(CLI::App& command, bench::ServingOptions& options);

// Fills in what the model's options say; returns the exit code. Throws Error.
int run_serving_bench(bench::ServingOptions options, const ModelOptions& model, const std::string& json_path);

}  // namespace fastcache::cli
