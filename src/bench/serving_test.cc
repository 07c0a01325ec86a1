// SPDX-License-Identifier: Apache-2.0
// The benchmark on a tiny model: what must hold whatever the machine's speed.
#include "bench/serving.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/test_seed.h"
#include "model/testing/tiny_model.h"

namespace fastcache::bench {
namespace {

class Serving : public testing::Test {
 protected:
  Serving() {
    model::test_support::write_tiny_model(folder_.file("tiny.gguf"), {.context_length = 1024});
    options_.engine.model = folder_.file("tiny.gguf");
    options_.engine.pool_bytes = size_t{8} << 20;
    options_.engine.threads = 1;  // two would wait for each other where the machine is busy
    options_.load = {.requests = 12, .prompt_tokens = 200, .n_vocab = 320, .seed = test_seed()};
    options_.generate_tokens = 40;
    options_.context_tokens = 1024;
    options_.sample_ms = 1;
  }

  Code refusal() const {
    try {
      run_serving(options_);
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << "accepted";
    return Code::internal;
  }

  static void expect_ordered(const Latency& latency) {
    EXPECT_GT(latency.mean_ms, 0);
    EXPECT_GT(latency.median_ms, 0);
    EXPECT_GE(latency.p99_ms, latency.median_ms);
    EXPECT_GE(latency.std_ms, 0);
  }

  model::test_support::TemporaryFolder folder_;
  ServingOptions options_;
};

TEST_F(Serving, CountsAddUpAndTimesAgreeWithTheEngines) {
  const ServingResult result = run_serving(options_);
  EXPECT_EQ(result.completed, 12);
  EXPECT_EQ(result.failed, 0);
  EXPECT_EQ(result.total_input_tokens, 12 * 200);
  EXPECT_EQ(result.total_output_tokens, 12 * 40);
  EXPECT_NEAR(result.request_throughput * result.duration_s, 12, 1e-6);
  EXPECT_NEAR(result.total_token_throughput * result.duration_s, 12 * 240, 1e-6);
  for (const Latency* latency : {&result.ttft, &result.tpot, &result.itl, &result.e2el})
    expect_ordered(*latency);
  // The reader's clock starts before the engine's and stops after it.
  EXPECT_GE(result.ttft.mean_ms, result.mean_queue_ms + result.mean_prefill_ms);
  EXPECT_LE(result.e2el.p99_ms, result.duration_s * 1e3 + 1e-6);
  EXPECT_NEAR(result.e2el.mean_ms, result.ttft.mean_ms + 39 * result.tpot.mean_ms, 1e-6);
  EXPECT_NEAR(result.itl.mean_ms, result.tpot.mean_ms, 1e-6);
  EXPECT_EQ(result.rows_after_compression, result.rows_before_compression);
  EXPECT_EQ(result.freed_bytes, 0u);
  EXPECT_EQ(result.cached_tokens, 0);
  EXPECT_GT(result.pool.samples, 1);
  EXPECT_GT(result.pool.peak_held_bytes, 0u);
  EXPECT_LE(result.pool.peak_held_bytes, result.pool.peak_used_bytes);
  EXPECT_LE(result.pool.peak_used_bytes, result.pool.pool_bytes);
  EXPECT_GE(result.pool.max_running, 1);
}

TEST_F(Serving, CompressionIsReported) {
  options_.compression = {.press = "knorm", .ratio = 0.75};
  options_.engine.prefix_cache = false;  // it would keep the pages that compression lets go of
  const ServingResult result = run_serving(options_);
  EXPECT_EQ(result.completed, 12);
  EXPECT_EQ(result.total_input_tokens, 12 * 200) << "prompt tokens are logical";
  EXPECT_EQ(result.rows_before_compression, 12u * 4 * 200);  // 2 layers, 2 KV heads
  EXPECT_EQ(result.rows_after_compression, 12u * 4 * 50);
  EXPECT_GT(result.freed_bytes, 0u);
  EXPECT_GT(result.mean_compress_ms, 0);
}

TEST_F(Serving, ASharedPrefixIsFoundInTheCacheUnlessThereIsNone) {
  options_.load.shared_prefix_tokens = 160;
  options_.engine.max_running = 1;  // one after the other
  const ServingResult cached = run_serving(options_);
  EXPECT_EQ(cached.cached_tokens, 11 * 160);
  EXPECT_EQ(cached.pool.max_running, 1);
  EXPECT_TRUE(std::isnan(cached.decode_throughput_all_running));
  options_.engine.prefix_cache = false;
  EXPECT_EQ(run_serving(options_).cached_tokens, 0);
}

TEST_F(Serving, RequestsArriveWhenPlanned) {
  options_.load.requests = 5;
  options_.load.rate_per_s = 40;
  options_.load.burstiness = 1000;  // every 25 ms, nearly
  options_.repeats = 2;
  const ServingResult result = run_serving(options_);
  EXPECT_EQ(result.completed, 5);
  EXPECT_GE(result.duration_s * 1e3, arrival_times_ms(options_.load).back());
  EXPECT_GT(arrival_times_ms(options_.load).back(), 70);
}

TEST_F(Serving, WrongOptionsAreRefused) {
  options_.load.requests = 0;
  EXPECT_EQ(refusal(), Code::bad_request);
  options_.load.requests = kMostServingRequests + 1;
  EXPECT_EQ(refusal(), Code::bad_request);
  options_.load.requests = 2;
  options_.generate_tokens = 0;
  EXPECT_EQ(refusal(), Code::bad_request);
  options_.generate_tokens = 1024 - 199;
  EXPECT_EQ(refusal(), Code::context_too_long);
  options_.generate_tokens = 10;
  options_.compression = {.press = "no_such_press", .ratio = 0.5};
  EXPECT_EQ(refusal(), Code::not_found);
}

// Told by the first answer, without waiting for the arrivals that are still to come.
TEST_F(Serving, APoolThatHoldsNoRequestEndsTheBenchmark) {
  options_.engine.pool_bytes = 40'000;
  options_.load.rate_per_s = 0.001;
  EXPECT_EQ(refusal(), Code::pool_too_small);
}

TEST_F(Serving, RequestsThatTheQueueRefusesAreCountedAsFailed) {
  options_.engine.max_waiting = 1;
  options_.load.requests = 40;
  const ServingResult result = run_serving(options_);
  EXPECT_GT(result.failed, 0);
  EXPECT_EQ(result.completed + result.failed, 40);
  EXPECT_EQ(result.total_output_tokens, result.completed * 40);
}

}  // namespace
}  // namespace fastcache::bench
