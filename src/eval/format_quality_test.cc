// SPDX-License-Identifier: Apache-2.0
#include "eval/format_quality.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/testing/loop_model.h"

namespace fastcache::eval {
namespace {

using engine::test_support::LoopModel;

constexpr int kTokens = 600, kContinued = 40;

TEST(FormatQuality, MethodsHoldTheBytesOfTheFormat) {
  LoopModel loop(1024);
  Workbench bench(loop.model, loop.compute,
                  {.chunk_tokens = 128, .capacity_tokens = 5 * (kTokens + kContinued), .max_sequences = 5});
  const std::vector<Method> methods = choose_methods({"knorm", "keydiff"}, {.n_layers = 2}, 1);
  std::vector<FormatResult> results = formats_to_measure(kv::KvType::bf16, methods);
  ASSERT_EQ(results.size(), 3u);

  const Tokens text = LoopModel::prompt(kTokens + kContinued + 1, 3);
  const Context context = bench.read(std::span(text).first(kTokens), needs_of(methods));
  const auto continuation = std::span(text).subspan(kTokens);
  kv::Sequence full = context.sequence.fork();
  const Reference reference = score_reference(bench, full, continuation);
  for (int document = 0; document < 2; ++document)
    measure_formats(bench, context, continuation, reference, methods, results);

  double kl = 0;
  for (const FormatResult& result : results) {
    ASSERT_EQ(result.rows.size(), 4u) << "keydiff is no simple baseline";
    const TextRow& format = result.rows[0];
    EXPECT_EQ(format.press, "quantized(bits=" + std::to_string(result.bits) + ")");
    EXPECT_LT(format.resident.bytes[0], static_cast<double>(resident_bytes(context.sequence)));
    for (const TextRow& row : result.rows) {
      SCOPED_TRACE(row.press);
      ASSERT_EQ(row.kl.size(), 2u);
      EXPECT_EQ(row.kl[0], row.kl[1]);
      EXPECT_EQ(row.resident.tokens_on_compressed, 2 * kContinued);
      // 38 pages a head: one less in each of the 4 is 3 % or more.
      EXPECT_LE(row.resident.bytes[0], 1.01 * format.resident.bytes[0]);
      EXPECT_GE(row.resident.bytes[0], 0.85 * format.resident.bytes[0]);
    }
    EXPECT_GT(format.kl[0], kl) << "fewer bits, " << result.bits << ", are further from the full cache";
    kl = format.kl[0];
  }
}

TEST(FormatQuality, OnlyFormatsSmallerThanTheCachesOwn) {
  EXPECT_EQ(formats_to_measure(kv::KvType::int8, {}).size(), 2u);
  EXPECT_EQ(formats_to_measure(kv::KvType::f32, {}).size(), 3u);
}

}  // namespace
}  // namespace fastcache::eval
