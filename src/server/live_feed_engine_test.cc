// SPDX-License-Identifier: Apache-2.0
// The live feed over an engine that works.
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "base/test_seed.h"
#include "model/testing/tiny_model.h"
#include "server/live_feed.h"

namespace fastcache::server {
namespace {

using nlohmann::json;

class LiveFeedEngineTest : public testing::Test {
 protected:
  LiveFeedEngineTest() {
    model::test_support::write_tiny_model(folder_.file("tiny.gguf"), {});
    EngineOptions options;
    options.model = folder_.file("tiny.gguf");
    options.pool_bytes = size_t{4} << 20;
    options.threads = 1;
    engine_ = std::make_unique<Engine>(options);
    feed_ = make_live_feed(context_.get_executor(), *engine_);
  }

  json state() const { return json::parse(feed_->state()).at("state"); }

  static int64_t pool_parts(const json& pool) {
    int64_t sum = 0;
    for (const auto& [name, bytes] : pool.items())
      if (name != "total_bytes") sum += bytes.get<int64_t>();
    return sum;
  }

  void submit_crowd(std::mt19937_64& random, std::vector<std::shared_ptr<Answer>>& answers) {
    for (int i = 0; i < 24; ++i) {
      Request request;
      request.tokens.assign(1 + random() % 200, 7);
      request.max_tokens = 1 + static_cast<int>(random() % 200);
      request.sampling.ignore_eos = true;
      if (random() % 2 == 0) request.compression = {.press = "knorm", .ratio = 0.5};
      answers.push_back(engine_->submit(request));
    }
  }

  // Takes what has come, so that it can end.
  static bool all_ended(const std::vector<std::shared_ptr<Answer>>& answers) {
    bool ended = true;
    for (const auto& answer : answers) {
      Delta delta;
      Answer::Poll got = answer->poll(delta);
      while (got == Answer::Poll::delta) got = answer->poll(delta);
      ended = ended && got == Answer::Poll::ended;
    }
    return ended;
  }

  model::test_support::TemporaryFolder folder_;
  boost::asio::io_context context_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<LiveFeed> feed_;
};

TEST_F(LiveFeedEngineTest, SaysWhatTheEngineHolds) {
  const json idle = state();
  EXPECT_EQ(idle.at("model").at("name"), "tiny");
  EXPECT_EQ(idle.at("pool").at("free_bytes"), idle.at("pool").at("total_bytes"));
  EXPECT_TRUE(idle.at("requests").empty());
  EXPECT_EQ(state(), idle) << "nothing happened";
}

// While requests of all kinds come and end: the states of the pool make up the whole of it, and the tokens
// counted never become fewer, although a request's move from the list to the totals when it ends.
TEST_F(LiveFeedEngineTest, TokensAreCountedOnce) {
  std::mt19937_64 random{test_seed()};
  SCOPED_TRACE(testing::Message() << "seed " << test_seed());
  std::vector<std::shared_ptr<Answer>> answers;
  int64_t seen = 0;
  bool has_seen_requests = false;
  while (!has_seen_requests) {  // a thread that gets no core for long may see nothing of a whole crowd
    submit_crowd(random, answers);
    while (!all_ended(answers)) {
      const json now = state();
      const int64_t generated = now.at("totals").at("generated_tokens");
      ASSERT_GE(generated, seen);
      seen = generated;
      has_seen_requests = has_seen_requests || !now.at("requests").empty();
      EXPECT_EQ(pool_parts(now.at("pool")), now.at("pool").at("total_bytes"));
    }
  }
  int64_t expected = 0;
  for (const auto& answer : answers) expected += answer->summary().generated_tokens;
  json last = state();
  while (!last.at("requests").empty()) last = state();  // the engine publishes after the answers are out
  EXPECT_GE(expected, seen);
  EXPECT_EQ(last.at("totals").at("generated_tokens"), expected);
}

}  // namespace
}  // namespace fastcache::server
