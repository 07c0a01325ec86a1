// SPDX-License-Identifier: Apache-2.0
// Options that several subcommands share, declared once.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "engine/generator.h"

namespace fastcache::cli {

struct ModelOptions {
  std::string model;  // path or name; empty = the embedded model
  int threads = 0;    // 0 = one per core
  uint64_t pool_bytes = uint64_t{1} << 30;
  std::string kv_type = "bf16";
  int chunk_tokens = 512;

  engine::GeneratorOptions generator() const;
};

void add_model_option(CLI::App& app, ModelOptions& options);
void add_pool_option(CLI::App& app, ModelOptions& options);
void add_engine_options(CLI::App& app, ModelOptions& options);  // threads, pool, KV type, chunk

// "1.5KiB", "1.5k" -> 1536. Units are powers of 1024. Throws Error (bad_request).
uint64_t parse_bytes(const std::string& text);
// 1536 -> "1.5 KiB".
std::string format_bytes(uint64_t bytes);

}  // namespace fastcache::cli
