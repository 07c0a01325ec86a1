// SPDX-License-Identifier: Apache-2.0
// For tests of compression during decoding: requests with decoding(...) and a loop for them.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include <string>

#include "engine/testing/compressed_chat.h"
#include "engine/testing/loop_driver.h"
#include "engine/testing/loop_model.h"

namespace fastcache::engine::test_support {

class DecodingTest : public testing::Test {
 protected:
  static DriverOptions options(int pool_tokens) { return loop_options(pool_tokens, 48); }

  static Request request(const std::string& inner, int n_prompt, int salt, int max_tokens, int budget,
                         int every) {
    Request made = LoopModel::request(n_prompt, salt, max_tokens);
    made.compression.press = fmt::format("decoding({}, budget={}, every={})", inner, budget, every);
    return made;
  }

  // Bytes of one answer that holds so many rows per head.
  static size_t bytes_of(int rows) {
    return static_cast<size_t>((rows + 15) / 16) * LoopModel::kHeads * LoopModel::page_bytes();
  }

  static void expect_empty(LoopDriver& driver) {
    EXPECT_EQ(driver.loop().stats().query_bytes, 0u);
    driver.loop().prefix_cache().clear();
    driver.loop().check();
    EXPECT_EQ(driver.pool().free_pages(), driver.pool().n_pages());
  }

  LoopModel model_{1'024, 1};
};

}  // namespace fastcache::engine::test_support
