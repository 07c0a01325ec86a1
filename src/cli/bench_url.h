// SPDX-License-Identifier: Apache-2.0
// `fastcache bench --url`: the options, the table and the JSON of a load on a server.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "bench/serving_load.h"
#include "cli/options.h"

namespace fastcache::cli {

struct UrlBenchOptions {
  std::string url;
  std::string endpoint = "/v1/completions";
  std::string served_model_name;  // empty: the first that the server lists
  std::string api_key;            // empty: $OPENAI_API_KEY
  std::string extra_body;
  std::string dataset;  // empty: made-up prompts
  std::vector<std::string> goodput;
  int max_concurrency = 0;
  bool ignore_eos = true;
  bool ignore_eos_given = false;
  double timeout_s = 600;
  // Shared with the benchmark in process:
  bench::ServingLoad load;  // requests below 0: all of the dataset, or 32
  int generate_tokens = 64;
};

// Returns --url, which all the others need.
CLI::Option* add_url_options(CLI::App& command, UrlBenchOptions& options);

// vocabulary: a GGUF file whose token ids are drawn as prompts, and which counts a dataset's tokens; null:
// words are. Returns the exit code: cancelled after Ctrl-C, io where no request was completed. Throws Error.
int run_url_bench(UrlBenchOptions options, const std::string* vocabulary, const std::string& json_path);

}  // namespace fastcache::cli
