// SPDX-License-Identifier: Apache-2.0
#include "attention/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace fastcache::attention {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

double plain(int pair, int n_dims, double base) { return std::pow(base, -2.0 * pair / n_dims); }

TEST(Rope, PlainAndLinearFrequencies) {
  const RopeTable table = make_rope_table(RopeStyle::adjacent, 64, 10000);
  const RopeTable half =
      make_rope_table(RopeStyle::adjacent, 64, 10000, {.kind = RopeScaling::Kind::linear, .factor = 2});
  ASSERT_EQ(table.inverse_frequency.size(), 32U);
  EXPECT_EQ(table.magnitude, 1.0f);
  for (int i = 0; i < 32; ++i) {
    const size_t pair = static_cast<size_t>(i);
    EXPECT_FLOAT_EQ(table.inverse_frequency[pair], static_cast<float>(plain(i, 64, 10000)));
    EXPECT_FLOAT_EQ(half.inverse_frequency[pair], static_cast<float>(plain(i, 64, 10000) / 2));
  }
}

// As in Meta's release: by wavelength.
TEST(Rope, Llama3Frequencies) {
  const RopeScaling scaling{.kind = RopeScaling::Kind::llama3,
                            .factor = 8,
                            .original_context = 8192,
                            .low_frequency_factor = 1,
                            .high_frequency_factor = 4};
  const RopeTable table = make_rope_table(RopeStyle::adjacent, 128, 500000, scaling);
  int kept = 0, stretched = 0;
  for (int i = 0; i < 64; ++i) {
    const double frequency = plain(i, 128, 500000), wave = kTwoPi / frequency;
    double expected = frequency;
    if (wave > 8192.0 / 1) {
      expected = frequency / 8;
      ++stretched;
    } else if (wave < 8192.0 / 4) {
      ++kept;
    } else {
      const double smooth = (8192 / wave - 1) / (4 - 1);
      expected = (1 - smooth) * frequency / 8 + smooth * frequency;
    }
    EXPECT_FLOAT_EQ(table.inverse_frequency[static_cast<size_t>(i)], static_cast<float>(expected)) << i;
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(stretched, 0);
}

TEST(Rope, DivisorsOfTheFile) {
  std::vector<float> divisors(32);
  for (size_t i = 0; i < 32; ++i) divisors[i] = 1.0f + static_cast<float>(i);
  const RopeTable table = make_rope_table(RopeStyle::halves, 64, 10000, {}, divisors);
  for (int i = 0; i < 32; ++i) {
    EXPECT_FLOAT_EQ(table.inverse_frequency[static_cast<size_t>(i)],
                    static_cast<float>(plain(i, 64, 10000) / (1 + i)));
  }
}

// source: YaRN, arXiv 2309.00071, section 3.2, with the boundaries rounded outward as all implementations do
TEST(Rope, YarnFrequencies) {
  const RopeScaling scaling{.kind = RopeScaling::Kind::yarn, .factor = 4, .original_context = 4096};
  const RopeTable table = make_rope_table(RopeStyle::halves, 128, 10000, scaling);
  EXPECT_FLOAT_EQ(table.magnitude, static_cast<float>(0.1 * std::log(4.0) + 1));
  const auto dim = [](double turns) {
    return 128 * std::log(4096 / (turns * kTwoPi)) / (2 * std::log(10000.0));
  };
  const double low = std::floor(dim(32)), high = std::ceil(dim(1));
  for (int i = 0; i < 64; ++i) {
    const double ramp = std::min(1.0, std::max(0.0, (i - low) / (high - low)));
    const double expected = plain(i, 128, 10000) / 4 * ramp + plain(i, 128, 10000) * (1 - ramp);
    EXPECT_FLOAT_EQ(table.inverse_frequency[static_cast<size_t>(i)], static_cast<float>(expected)) << i;
  }
}

TEST(Rope, RotatesPairsOfBothStyles) {
  for (RopeStyle style : {RopeStyle::adjacent, RopeStyle::halves}) {
    const RopeTable table = make_rope_table(style, 16, 10000);
    std::vector<float> x(20), cos_sin(16);  // four channels pass
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 7.5f;
    const std::vector<float> before = x;
    rope_angles(table, 1234567, cos_sin.data());
    rope_rotate(table, cos_sin.data(), x.data());
    for (size_t pair = 0; pair < 8; ++pair) {
      const size_t a = style == RopeStyle::adjacent ? 2 * pair : pair;
      const size_t b = style == RopeStyle::adjacent ? 2 * pair + 1 : pair + 8;
      const double angle = 1234567.0 * static_cast<double>(table.inverse_frequency[pair]);
      EXPECT_NEAR(x[a], before[a] * std::cos(angle) - before[b] * std::sin(angle), 2e-6);
      EXPECT_NEAR(x[b], before[a] * std::sin(angle) + before[b] * std::cos(angle), 2e-6);
    }
    for (size_t i = 16; i < 20; ++i) EXPECT_EQ(x[i], before[i]);
    rope_angles(table, -1234567, cos_sin.data());
    rope_rotate(table, cos_sin.data(), x.data());
    for (size_t i = 0; i < 16; ++i) EXPECT_NEAR(x[i], before[i], 4e-6);
  }
}

// source: M-RoPE, arXiv 2409.12191, section 2.1
TEST(Rope, SectionsTurnByPositionsOfTheirOwn) {
  RopeTable table = make_rope_table(RopeStyle::halves, 16, 10000);
  table.section = {0, 0, 1, 1, 1, 2, 2, 2};
  std::vector<float> cos_sin(16), equal(16), plain(16);
  rope_angles(table, std::array<int32_t, 4>{5, 70, 900, 0}, cos_sin.data());
  const double positions[] = {5, 5, 70, 70, 70, 900, 900, 900};
  for (size_t pair = 0; pair < 8; ++pair) {
    const double angle = positions[pair] * static_cast<double>(table.inverse_frequency[pair]);
    EXPECT_NEAR(cos_sin[2 * pair], std::cos(angle), 1e-6);
    EXPECT_NEAR(cos_sin[2 * pair + 1], std::sin(angle), 1e-6);
  }
  rope_angles(table, 70, equal.data());
  table.section.clear();
  rope_angles(table, 70, plain.data());
  EXPECT_EQ(equal, plain);
}

TEST(Rope, RefusesWhatMakesNoTable) {
  const auto refused = [](int n_dims, double base, const RopeScaling& scaling,
                          std::span<const float> divisors) {
    EXPECT_THROW(make_rope_table(RopeStyle::adjacent, n_dims, base, scaling, divisors), Error);
  };
  refused(7, 10000, {}, {});
  refused(0, 10000, {}, {});
  refused(64, 0, {}, {});
  refused(64, std::nan(""), {}, {});
  refused(64, 10000, {.kind = RopeScaling::Kind::linear, .factor = 0}, {});
  refused(64, 10000, {.kind = RopeScaling::Kind::llama3, .factor = 8}, {});
  refused(64, 10000, {.kind = RopeScaling::Kind::yarn, .factor = 8}, {});
  refused(64, 10000, {}, std::vector<float>(31, 1.0f));
  refused(64, 10000, {}, std::vector<float>(32, 0.0f));
}

}  // namespace
}  // namespace fastcache::attention
