// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "base/error.h"
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
      ->transform([](const std::string& text) { return std::to_string(parse_bytes(text)); }, "")
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

uint64_t parse_bytes(const std::string& text) {
  constexpr std::string_view kUnits = "KMGT";
  constexpr double kMost = 0x1p62;
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  std::string unit(at, end);
  for (char& c : unit) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  const size_t power = unit.empty() ? std::string::npos : kUnits.find(unit[0]);
  bool good = error == std::errc() && value >= 0;
  if (power != std::string::npos) {
    good = good && (unit.size() == 1 || unit.substr(1) == "B" || unit.substr(1) == "IB");
    value *= std::exp2(10 * static_cast<double>(power + 1));
  } else {
    good = good && (unit.empty() || unit == "B");
  }
  if (!good || !(value < kMost)) {
    throw Error{
        Code::bad_request,
        fmt::format("'{}' is no size; it must be a number of bytes, or one with KiB, MiB, GiB or TiB", text)};
  }
  return static_cast<uint64_t>(value);
}

std::string format_bytes(uint64_t bytes) {
  constexpr std::array kUnits{"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} bytes", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace fastcache::cli
