// SPDX-License-Identifier: Apache-2.0
// Every request's tokens are those that it gets alone, whatever else runs: batches, arrival, preemption,
// prefix hits, forks, compression. On a tiny model with random schedules.
#include "engine/step_loop.h"

#include <gtest/gtest.h>

#include <random>

#include "base/test_seed.h"
#include "engine/testing/loop_driver.h"
#include "model/testing/tiny_model.h"

namespace fastcache::engine {
namespace {

using test_support::Collected;
using test_support::DriverOptions;
using test_support::LoopDriver;
using test_support::run_alone;
using Random = std::mt19937_64;

int between(Random& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

class StepLoopTest : public testing::Test {
 protected:
  StepLoopTest() : compute_(2), model_(write(), compute_) {}

  std::string write() {
    model::test_support::write_tiny_model(folder_.file("tiny.gguf"), {.context_length = 512, .seed = 5});
    return folder_.file("tiny.gguf");
  }

  size_t page_bytes() const { return kv::page_payload_bytes(16) + kv::page_side_bytes(kv::KvType::bf16); }
  size_t pool_for(int n_tokens) const {  // uncompressed tokens of one sequence; 4 heads
    return static_cast<size_t>((n_tokens + 15) / 16 * 4 + 8) * page_bytes();
  }

  // Prompts share beginnings, so that the prefix cache has something to find.
  std::vector<int32_t> random_prompt(Random& random) const {
    std::vector<int32_t> prompt;
    const int family = between(random, 0, 2), n_shared = between(random, 0, 3) * 16;
    for (int i = 0; i < n_shared; ++i) prompt.push_back(3 + (family * 77 + i * 13) % 300);
    const int n_own = between(random, 1, 60);
    for (int i = 0; i < n_own; ++i) prompt.push_back(between(random, 3, 319));
    return prompt;
  }

  Request random_request(Random& random) const {
    Request request;
    request.tokens = random_prompt(random);
    request.max_tokens = between(random, 1, 40);
    request.n = between(random, 0, 4) == 0 ? between(random, 2, 3) : 1;
    request.priority = between(random, 0, 5) == 0 ? between(random, -2, 2) : 0;
    request.sampling.ignore_eos = between(random, 0, 1) == 0;
    if (between(random, 0, 2) == 0) {
      request.sampling.temperature = 0.8f;
      request.sampling.seed = static_cast<uint64_t>(between(random, 0, 1000));
    }
    if (between(random, 0, 2) == 0) {
      const std::vector<std::string> presses{"knorm", "streaming_llm", "random", "test_uneven"};
      request.compression.press = presses[static_cast<size_t>(between(random, 0, 3))];
      request.compression.ratio = between(random, 1, 9) / 10.0;
    }
    return request;
  }

  model::test_support::TemporaryFolder folder_;
  ComputePool compute_;
  model::LoadedModel model_;
};

TEST_F(StepLoopTest, RandomSchedulesGiveTheTokensOfEachRequestAlone) {
  const int n_schedules = 60;
  for (int schedule = 0; schedule < n_schedules; ++schedule) {
    const uint64_t seed = test_seed() + static_cast<uint64_t>(schedule);
    SCOPED_TRACE(testing::Message() << "FASTCACHE_TEST_SEED=" << seed);
    Random random(seed);
    DriverOptions options{.pool_bytes = pool_for(between(random, 160, 600)), .loop = {}};
    options.loop.step_tokens = between(random, 2, 64);
    options.loop.max_running = between(random, 3, 12);
    options.loop.policy = between(random, 0, 1) == 0 ? "fcfs" : "dynamic";
    options.loop.prefix_cache = between(random, 0, 3) != 0;
    LoopDriver driver(model_, compute_, options);
    std::vector<Request> requests;
    std::vector<bool> cancelled;
    const int n_requests = between(random, 2, 10);
    while (static_cast<int>(requests.size()) < n_requests || driver.loop().has_work()) {
      if (static_cast<int>(requests.size()) < n_requests && between(random, 0, 3) == 0) {
        requests.push_back(random_request(random));
        cancelled.push_back(false);
        driver.submit(requests.back());
      }
      if (!requests.empty() && between(random, 0, 200) == 0) {
        const int victim = between(random, 0, static_cast<int>(requests.size()) - 1);
        driver.cancel(victim);
        cancelled[static_cast<size_t>(victim)] = true;
      }
      driver.step();
      driver.loop().check();
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      const Collected& here = driver.collect(static_cast<int>(i));
      ASSERT_TRUE(here.ended);
      ASSERT_EQ(here.error, "");
      const Collected alone = run_alone(model_, compute_, requests[i]);
      for (size_t a = 0; a < here.answers.size(); ++a) {
        ASSERT_TRUE(here.answers[a].finished);
        if (here.answers[a].finish == Finish::cancelled) {
          ASSERT_TRUE(cancelled[i]);
          ASSERT_LE(here.answers[a].tokens.size(), alone.answers[a].tokens.size());
          ASSERT_TRUE(std::equal(here.answers[a].tokens.begin(), here.answers[a].tokens.end(),
                                 alone.answers[a].tokens.begin()));
        } else {
          ASSERT_EQ(here.answers[a].tokens, alone.answers[a].tokens)
              << "request " << i << ", answer " << a << ", preemptions " << here.summary.preemptions
              << ", cached " << here.summary.cached_tokens << ", press " << requests[i].compression.press;
          ASSERT_EQ(here.answers[a].text, alone.answers[a].text);
        }
      }
    }
    driver.loop().prefix_cache().clear();
    ASSERT_EQ(driver.pool().free_pages(), driver.pool().n_pages());
  }
}

}  // namespace
}  // namespace fastcache::engine
