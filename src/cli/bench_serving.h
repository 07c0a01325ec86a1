// SPDX-License-Identifier: Apache-2.0
// `fastcache bench --requests`: the options, the table and the JSON of the serving benchmark.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "bench/serving.h"
#include "cli/options.h"

namespace fastcache::cli {

// Returns --requests. The load's options are also those of --url.
CLI::Option* add_serving_options(CLI::App& command, bench::ServingOptions& options);

// That each option given is one of the benchmark asked for: kernels, one in process (--requests), one of a
// server
// (--url). Throws Error (bad_request).
void check_serving_options(const CLI::App& command);

// Fills in what the model's options say; returns the exit code. Throws Error.
int run_serving_bench(bench::ServingOptions options, const ModelOptions& model, const std::string& json_path);

}  // namespace fastcache::cli
