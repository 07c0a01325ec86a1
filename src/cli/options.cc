// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <array>

#include "base/log.h"

namespace fastcache::cli {

engine::GeneratorOptions ModelOptions::generator() const {
  return {.pool_bytes = pool_bytes, .kv_type = kv::parse_kv_type(kv_type), .chunk_tokens = chunk_tokens};
}

void add_model_option(CLI::App& app, ModelOptions& options) {
  app.add_option("-m,--model", options.model,
                 "GGUF file, or a name that `fastcache models` lists [the embedded model]");
}

void add_pool_option(CLI::App& app, ModelOptions& options) {
  app.add_option("--pool", options.pool_bytes,
                 "size of the KV pool: bytes, or with a unit such as 512MiB or 2GiB")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("1GiB");
}

void add_engine_options(CLI::App& app, ModelOptions& options) {
  app.add_option("-t,--threads", options.threads, "compute threads, 0 = one per core")
      ->capture_default_str()
      ->check(CLI::Range(0, 512));
  add_pool_option(app, options);
  app.add_option("--kv-type", options.kv_type, "element type of K and V: f32, bf16 or int8")
      ->capture_default_str();
  app.add_option("--chunk", options.chunk_tokens, "prompt tokens in one step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
}

std::string format_bytes(uint64_t bytes) {
  constexpr std::array kUnits{"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} bytes", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace fastcache::cli
