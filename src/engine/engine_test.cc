// SPDX-License-Identifier: Apache-2.0
// The public engine: threads, ends, wrong requests. What the tokens must be: step_loop_test.cc.
#include "fastcache/engine.h"

#include <gtest/gtest.h>

#include <semaphore>
#include <thread>

#include "engine/testing/loop_driver.h"
#include "model/testing/tiny_model.h"

namespace fastcache {
namespace {

class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    model::test_support::write_tiny_model(path(), {.context_length = 4096, .seed = 5});
    options_ = {.model = path(), .pool_bytes = size_t{4} << 20, .threads = 2};
  }
  std::string path() const { return folder_.file("tiny.gguf"); }

  static Request request(int salt, int n_prompt = 20, int max_tokens = 30) {
    Request request{.max_tokens = max_tokens};
    for (int i = 0; i < n_prompt; ++i) request.tokens.push_back(3 + (i * 37 + salt * 11) % 300);
    request.sampling.ignore_eos = true;
    return request;
  }

  struct Whole {
    std::string text;
    std::vector<int32_t> tokens;
    Finish finish = Finish::failed;
    bool operator==(const Whole&) const = default;
  };
  static Whole read(Answer& answer) {
    Whole whole;
    while (auto delta = answer.next()) {
      whole.text += delta->text;
      for (const TokenInfo& token : delta->tokens) whole.tokens.push_back(token.id);
      if (delta->finished) whole.finish = delta->finish;
    }
    return whole;
  }

  static Code code_of(Engine& engine, const Request& request) {
    try {
      auto answer = engine.submit(request);
      while (answer->next()) {
      }
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << "accepted";
    return Code::internal;
  }

  model::test_support::TemporaryFolder folder_;
  EngineOptions options_;
};

TEST_F(EngineTest, ManyThreadsGetTheAnswersThatEachGetsAlone) {
  std::vector<Whole> alone;
  {
    options_.prefix_cache = false;
    Engine engine(options_);
    for (int i = 0; i < 12; ++i) {
      alone.push_back(read(*engine.submit(request(i))));
      EXPECT_EQ(alone.back().tokens.size(), 30u);
      EXPECT_EQ(alone.back().finish, Finish::length);
    }
    options_.prefix_cache = true;
  }
  Engine engine(options_);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < 12; i += 4)
        EXPECT_EQ(read(*engine.submit(request(i))), alone[static_cast<size_t>(i)]);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(EngineTest, CancelAndDropEndRequests) {
  Engine engine(options_);
  auto answer = engine.submit(request(1, 20, 4000));
  ASSERT_TRUE(answer->next());
  answer->cancel();
  EXPECT_EQ(read(*answer).finish, Finish::cancelled);
  { const auto dropped = engine.submit(request(2, 20, 4000)); }
  EXPECT_EQ(read(*engine.submit(request(3))).finish, Finish::length);
  for (int i = 0; i < 2000 && engine.stats().running + engine.stats().waiting > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(engine.stats().running + engine.stats().waiting, 0);
}

TEST_F(EngineTest, TheDestructorEndsWhatRuns) {
  std::shared_ptr<Answer> answer;
  {
    Engine engine(options_);
    answer = engine.submit(request(1, 20, 4000));
    ASSERT_TRUE(answer->next());
  }
  EXPECT_EQ(read(*answer).finish, Finish::cancelled);
}

TEST_F(EngineTest, DeadlinesArePassedOn) {
  Engine engine(options_);
  Request late = request(1, 20, 4000);
  late.deadline_ms = 1;
  EXPECT_EQ(read(*engine.submit(late)).finish, Finish::deadline);
}

TEST_F(EngineTest, WrongRequestsAreRefusedWithTheRightCode) {
  Engine engine(options_);
  EXPECT_EQ(code_of(engine, {}), Code::bad_request);
  Request wrong = request(1);
  wrong.prompt = "two prompts";
  EXPECT_EQ(code_of(engine, wrong), Code::bad_request);
  EXPECT_EQ(code_of(engine, request(1, 5000)), Code::context_too_long);
  wrong = request(1);
  wrong.tokens[3] = 100'000;
  EXPECT_EQ(code_of(engine, wrong), Code::bad_request);
  for (int max_tokens : {0, -1}) EXPECT_EQ(code_of(engine, request(1, 20, max_tokens)), Code::bad_request);
  wrong = request(1);
  wrong.n = 0;
  EXPECT_EQ(code_of(engine, wrong), Code::bad_request);
  wrong = request(1);
  wrong.compression = {.press = "no_such_press", .ratio = 0.5};
  EXPECT_EQ(code_of(engine, wrong), Code::not_found);
  wrong.compression = {.press = "knorm", .ratio = 1.5};
  EXPECT_EQ(code_of(engine, wrong), Code::bad_request);
  wrong.compression = {.press = "adakv(knorm(ratio=0.5)", .ratio = 0.5};
  EXPECT_EQ(code_of(engine, wrong), Code::bad_request);
  wrong.compression = {.press = "adakv(knorm(ratio=0.5))", .ratio = 0.6};
  EXPECT_EQ(code_of(engine, wrong), Code::bad_request);
  wrong.compression = {.press = "per_layer(knorm, ratios=[0.5, 0.5, 0.5])"};  // the model has 2 layers
  EXPECT_EQ(code_of(engine, wrong), Code::unsupported);
  wrong = request(1);
  wrong.deadline_ms = -1;
  EXPECT_EQ(code_of(engine, wrong), Code::bad_request);

  options_.pool_bytes = 200'000;
  Engine small(options_);
  EXPECT_EQ(code_of(small, request(1, 3000)), Code::pool_too_small);
  options_.max_waiting = 0;
  Engine closed(options_);
  EXPECT_EQ(code_of(closed, request(1)), Code::overloaded);
  options_.policy = "no_such_policy";
  EXPECT_THROW(Engine{options_}, Error);
}

TEST_F(EngineTest, CompressionIsReportedAndFreesPages) {
  Engine engine(options_);
  Request compressed = request(1, 1000, 30);
  compressed.compression = {.press = "knorm", .ratio = 0.8};
  auto answer = engine.submit(compressed);
  EXPECT_EQ(read(*answer).tokens.size(), 30u);
  const Summary summary = answer->summary();
  EXPECT_EQ(summary.prompt_tokens, 1000);
  EXPECT_EQ(summary.rows_before_compression, 4000u);  // 2 layers, 2 KV heads
  EXPECT_EQ(summary.rows_after_compression, 4u * 199);
  EXPECT_GT(summary.compress_ms, 0);
  EXPECT_LE(summary.ttft_ms, summary.queue_ms + summary.prefill_ms + 1e-6);
}

TEST_F(EngineTest, PressesAreComposedByAText) {
  Engine engine(options_);
  const struct {
    Compression compression;
    size_t rows;
  } cases[] = {{{.press = "AdaKV(keydiff(ratio=0.6))"}, 4 * 80},
               {{.press = "chunkkv(cur)", .budget = 50}, 4 * 50},
               {{.press = "per_layer(lagkv, ratios=[0, 0.5])"}, 2 * 200 + 2 * 100},
               {{.press = "composed(knorm(ratio=0.5), streaming_llm(ratio=0.5))"}, 4 * 50}};
  for (const auto& [compression, rows] : cases) {
    Request compressed = request(1, 200, 5);
    compressed.compression = compression;
    auto answer = engine.submit(compressed);
    EXPECT_EQ(read(*answer).tokens.size(), 5u);
    EXPECT_EQ(answer->summary().rows_after_compression, rows) << compression.press;
  }
}

TEST_F(EngineTest, ASecondRequestFindsTheFirstOnesPrompt) {
  Engine engine(options_);
  const Whole first = read(*engine.submit(request(1, 200)));
  auto again = engine.submit(request(1, 200));
  EXPECT_EQ(read(*again), first);
  EXPECT_EQ(again->summary().cached_tokens, 192);
  Request stranger = request(1, 200);
  stranger.tenant = "another";
  auto other = engine.submit(stranger);
  EXPECT_EQ(read(*other), first);
  EXPECT_EQ(other->summary().cached_tokens, 0);
}

// A reader that only polls when it is told sees the same as one that blocks.
TEST_F(EngineTest, PollingWhenToldGivesTheSame) {
  Engine engine(options_);
  const Whole blocking = read(*engine.submit(request(1)));
  std::counting_semaphore<> told(0);
  auto answer = engine.submit(request(1), [&] { told.release(); });
  Whole polled;
  Delta delta;
  Answer::Poll got = Answer::Poll::nothing;
  while (got != Answer::Poll::ended) {
    told.acquire();
    while ((got = answer->poll(delta)) == Answer::Poll::delta) {
      polled.text += delta.text;
      for (const TokenInfo& token : delta.tokens) polled.tokens.push_back(token.id);
      if (delta.finished) polled.finish = delta.finish;
    }
  }
  EXPECT_EQ(polled, blocking);
  EXPECT_EQ(answer->poll(delta), Answer::Poll::ended) << "it stays ended";
}

TEST_F(EngineTest, FiguresOfRequestsShowTheRowsThatCompressionLeft) {
  constexpr int kAnswers = 8;
  options_.pool_bytes = size_t{64} << 20;  // nobody gives way
  Engine engine(options_);
  Request asked = request(2, 200, 3800);  // long enough to be seen, figures come ten times a second
  asked.compression = {.press = "knorm", .ratio = 0.5};
  asked.n = kAnswers;
  auto answer = engine.submit(asked);
  std::vector<RequestFigures> seen;
  while (seen.empty() || seen[0].generated_tokens < 20 || seen[0].stage != std::string("decode")) {
    ASSERT_TRUE(answer->next().has_value());
    seen = engine.requests(10);
  }
  ASSERT_EQ(seen.size(), 1u) << "all answers are one request";
  EXPECT_EQ(seen[0].press, "knorm");
  EXPECT_EQ(seen[0].prompt_tokens, 200);
  EXPECT_EQ(seen[0].rows_uncompressed - seen[0].rows_held, 100u * 4 * kAnswers) << "2 layers, 2 KV heads";
  EXPECT_GT(seen[0].bytes, 0u);
  EXPECT_GT(seen[0].ttft_ms, 0);
  EXPECT_TRUE(engine.requests(0).empty());
  answer->cancel();
  while (answer->next()) {
  }
  while (engine.stats().running > 0) std::this_thread::yield();
  EXPECT_TRUE(engine.requests(10).empty());
}

TEST_F(EngineTest, TextAndTokens) {
  Engine engine(options_);
  const std::vector<int32_t> tokens = engine.tokenize("to and fro", false, false);
  EXPECT_EQ(engine.detokenize(tokens), " to and fro");  // this vocabulary puts a space before a text
  EXPECT_EQ(engine.model().context_tokens, 4096);
  EXPECT_EQ(engine.model().name, "tiny");
  EXPECT_THROW(engine.detokenize(std::vector<int32_t>{1 << 20}), Error);
  EXPECT_THROW(engine.tokenize("\xFF", false, false), Error);
}

}  // namespace
}  // namespace fastcache
