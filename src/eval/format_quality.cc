// SPDX-License-Identifier: Apache-2.0
#include "eval/format_quality.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

namespace fastcache::eval {
namespace {

bool stands_beside(const Method& method) {
  return is_simple_baseline(method) || press::same_name(method.name, "snapkv");
}

void add(Workbench& bench, Compressed compressed, std::span<const model::Token> continuation,
         const Reference& reference, TextRow& row) {
  const Score found = score(bench, compressed, continuation, reference);
  row.add(compressed, found);
}

}  // namespace

std::vector<FormatResult> formats_to_measure(kv::KvType kv_type, const std::vector<Method>& methods) {
  std::vector<FormatResult> results;
  for (const int bits : {8, 4, 2}) {
    if (bits >= kv::element_bits(kv_type)) continue;
    FormatResult result{.bits = bits};
    result.rows.push_back({.press = fmt::format("quantized(bits={})", bits)});
    for (const Method& method : methods)
      if (stands_beside(method))
        result.rows.push_back({.press = method.name, .simple_baseline = is_simple_baseline(method)});
    results.push_back(std::move(result));
  }
  return results;
}

void measure_formats(Workbench& bench, const Context& context, std::span<const model::Token> continuation,
                     const Reference& reference, const std::vector<Method>& methods,
                     std::vector<FormatResult>& results) {
  for (FormatResult& result : results) {
    const press::PressParams fewer_bits{.name = "quantized",
                                        .numbers = {{"bits", static_cast<double>(result.bits)}}};
    Compressed compressed = bench.compress(context, fewer_bits, 0);
    const size_t target_bytes = compressed.bytes;
    const double removed =
        1.0 - static_cast<double>(target_bytes) / static_cast<double>(resident_bytes(context.sequence));
    size_t row = 0;
    add(bench, std::move(compressed), continuation, reference, result.rows[row++]);
    for (const Method& method : methods)
      if (stands_beside(method))
        add(bench, bench.compress_to(context, method.params, removed, target_bytes), continuation, reference,
            result.rows[row++]);
  }
}

}  // namespace fastcache::eval
