// SPDX-License-Identifier: Apache-2.0
// The shape of ThinK: channels of keys. Pages store all channels, so it is refused, with a sentence that says
// so, instead of zeroing channels and freeing nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "base/error.h"
#include "base/test_seed.h"
#include "press/allocate.h"
#include "press/test_cache.h"

namespace fastcache::press {
namespace {

// Keeps the channels whose squares sum up to most.
class TestChannels final : public Press {
 public:
  explicit TestChannels(int n_channels) : n_channels_(n_channels) {}
  PressNeeds needs() const override { return {.keys = true, .key_channels = true}; }
  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores;
    for (int head = 0; head < layer.n_kv_heads(); ++head) scores.emplace_back(layer.n_rows(head));
    return scores;
  }
  Edit apply(const LayerInput& layer, int head, std::span<const float>, int) const override {
    const int n = layer.n_rows(head), head_dim = layer.head_dim();
    std::vector<float> k(static_cast<size_t>(n) * head_dim), sums(head_dim);
    layer.read_keys(head, 0, n, k.data());
    for (size_t i = 0; i < k.size(); ++i) sums[i % head_dim] += k[i] * k[i];
    Edit edit{.key_channels = best_rows_ascending(sums, n_channels_)};
    edit.rows.resize(n);
    std::iota(edit.rows.begin(), edit.rows.end(), 0);
    return edit;
  }

 private:
  int n_channels_;
};

void refused(const std::string& part, const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "nothing thrown; expected: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::unsupported);
    EXPECT_THAT(error.what(), testing::HasSubstr(part));
  }
}

TEST(KeyChannels, AreRefusedAtAdmissionAndByTheCompression) {
  const TestChannels press(kCacheDim / 2);
  refused("pages that hold some channels of the keys only",
          [&] { check_needs("test_channels", press.needs(), {.keys = true, .values = true}); });
  RandomCache cache(100, test_seed());
  ComputePool threads{2};
  const size_t free = cache.pool.free_pages();
  refused("keeps 16 of 32 channels", [&] {
    compress({&press, {.ratio = 0.0}, &cache.pool, &cache.sequence}, threads);
  });
  EXPECT_EQ(cache.pool.free_pages(), free);
  EXPECT_TRUE(cache.sequence.can_share_block(0)) << "as prefill left it";
  const TestChannels all(kCacheDim);
  EXPECT_EQ(compress({&all, {.ratio = 0.0}, &cache.pool, &cache.sequence}, threads).rows_after,
            cache.sequence.shape().n_heads() * 100);
}

}  // namespace
}  // namespace fastcache::press
