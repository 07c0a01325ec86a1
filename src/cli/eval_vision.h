// SPDX-License-Identifier: Apache-2.0
// `fastcache eval --dataset`: questions about pictures.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

#include "cli/options.h"
#include "eval/vision_results.h"

namespace fastcache::cli {

struct VisionEvalOptions {
  eval::VisionOptions questions;
  std::string mmproj, lora;
  std::string url, api_key, served_model_name;
  double timeout_s = 600;  // of --url, without a byte
};

// Where the results go; empty: nowhere.
struct ReportPaths {
  std::string json, html, markdown, chart_js;
};

// Returns --dataset: what else it adds needs it.
CLI::Option* add_vision_options(CLI::App& command, ModelOptions& model, VisionEvalOptions& options);

// Returns the exit code: that of Code::cancelled where Ctrl-C ended it early. Throws Error: the dataset, the
// model, its vision encoder, presses, the server; the first question's where every one failed.
int run_vision_eval(const VisionEvalOptions& options, const ModelOptions& model, const ReportPaths& paths);

}  // namespace fastcache::cli
