// SPDX-License-Identifier: Apache-2.0
// The figures of records that were made by hand, against numbers worked out by hand.
#include "bench/serving_result.h"

#include <gtest/gtest.h>

#include <cmath>

namespace fastcache::bench {
namespace {

RequestRecord record(double planned_ms, std::vector<DeltaTime> deltas, bool completed = true) {
  RequestRecord made;
  made.planned_ms = planned_ms;
  made.deltas = std::move(deltas);
  made.completed = completed;
  made.summary.prompt_tokens = 100;
  made.summary.queue_ms = planned_ms;
  made.summary.freed_bytes = 7;
  return made;
}

const std::vector<EngineStats>& one_sample() {
  static const std::vector<EngineStats> samples(1);
  return samples;
}

TEST(ServingResult, LatenciesAreTakenFromThePlannedArrival) {
  const std::vector<RequestRecord> records{record(0, {{10, 1}, {20, 1}, {50, 1}}),
                                           record(5, {{25, 1}, {35, 2}, {45, 1}}),
                                           record(6, {{1000, 1}}, false)};
  const ServingResult result = summarise(records, one_sample());
  EXPECT_EQ(result.completed, 2);
  EXPECT_EQ(result.failed, 1);
  EXPECT_DOUBLE_EQ(result.duration_s, 0.05);
  EXPECT_EQ(result.total_input_tokens, 200);
  EXPECT_EQ(result.total_output_tokens, 7);
  EXPECT_DOUBLE_EQ(result.request_throughput, 40);
  EXPECT_DOUBLE_EQ(result.output_throughput, 140);
  EXPECT_DOUBLE_EQ(result.total_token_throughput, 4140);
  EXPECT_DOUBLE_EQ(result.ttft.mean_ms, 15);
  EXPECT_DOUBLE_EQ(result.ttft.std_ms, 5);
  EXPECT_DOUBLE_EQ(result.ttft.p99_ms, 19.9);
  EXPECT_DOUBLE_EQ(result.e2el.mean_ms, 45);
  EXPECT_DOUBLE_EQ(result.tpot.mean_ms, (20 + 20.0 / 3) / 2);
  EXPECT_DOUBLE_EQ(result.itl.mean_ms, 15);  // of 10, 30, 10, 10
  EXPECT_DOUBLE_EQ(result.itl.median_ms, 10);
  EXPECT_DOUBLE_EQ(result.mean_queue_ms, 2.5);
  EXPECT_EQ(result.freed_bytes, 14u);
  EXPECT_TRUE(std::isnan(result.decode_throughput_all_running)) << "one never ran";
}

TEST(ServingResult, DecodeWhileAllRunCountsTheCommonTimeAlone) {
  // Both run from 25 to 45: the tokens at 45; 35 and 45.
  const std::vector<RequestRecord> common{record(0, {{10, 1}, {20, 1}, {45, 1}}),
                                          record(0, {{25, 1}, {35, 1}, {45, 1}, {60, 1}})};
  EXPECT_DOUBLE_EQ(summarise(common, one_sample()).decode_throughput_all_running, 3 / 0.020);
  const std::vector<RequestRecord> apart{record(0, {{10, 1}, {20, 1}}), record(0, {{25, 1}, {35, 1}})};
  EXPECT_TRUE(std::isnan(summarise(apart, one_sample()).decode_throughput_all_running));
}

TEST(ServingResult, OneTokenHasNoTpot) {
  const std::vector<RequestRecord> records{record(0, {{10, 1}})};
  const ServingResult result = summarise(records, one_sample());
  EXPECT_DOUBLE_EQ(result.ttft.mean_ms, 10);
  EXPECT_TRUE(std::isnan(result.tpot.mean_ms));
  EXPECT_TRUE(std::isnan(result.itl.p99_ms));
}

TEST(ServingResult, NothingCompletedIsNoDivisionByZero) {
  const std::vector<RequestRecord> records{record(0, {}, false)};
  const ServingResult result = summarise(records, one_sample());
  EXPECT_EQ(result.failed, 1);
  EXPECT_EQ(result.request_throughput, 0);
  EXPECT_TRUE(std::isnan(result.ttft.mean_ms));
}

TEST(ServingResult, ThePoolsPeakLeavesOutWhatTheCacheGivesUp) {
  std::vector<EngineStats> samples(3);
  for (EngineStats& sample : samples) sample.pool_bytes = 100;
  samples[0].free_bytes = 100;
  samples[1] = {
      .pool_bytes = 100, .free_bytes = 40, .prefill_bytes = 30, .decode_bytes = 20, .shared_bytes = 10};
  samples[1].running = 5;
  samples[2] = {.pool_bytes = 100, .free_bytes = 10, .decode_bytes = 20, .prefix_cached_bytes = 70};
  samples[2].waiting = 2;
  const std::vector<RequestRecord> records{record(0, {{10, 1}})};
  const PoolUse use = summarise(records, samples).pool;
  EXPECT_EQ(use.samples, 3);
  EXPECT_EQ(use.peak_used_bytes, 90u);
  EXPECT_EQ(use.peak_held_bytes, 60u);
  EXPECT_EQ(use.at_peak.prefill_bytes, 30u);
  EXPECT_DOUBLE_EQ(use.free.min, 10);
  EXPECT_DOUBLE_EQ(use.free.mean, 50);
  EXPECT_DOUBLE_EQ(use.free.max, 100);
  EXPECT_EQ(use.max_running, 5);
  EXPECT_EQ(use.max_waiting, 2);
}

}  // namespace
}  // namespace fastcache::bench
