// SPDX-License-Identifier: Apache-2.0
// A conversation on a tiny model: the same tokens with and without what is cached, whatever went wrong
// before.
#include "engine/generator.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "model/testing/llama_oracle.h"
#include "model/testing/tiny_model.h"

namespace fastcache::engine {
namespace {

using model::test_support::TemporaryFolder;
using model::test_support::TinyModel;
using Tokens = std::vector<model::Token>;

Tokens some_tokens(int n, int salt = 0) {
  Tokens tokens(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) tokens[static_cast<size_t>(i)] = 3 + (i * 37 + salt) % 300;
  return tokens;
}

Tokens joined(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class GeneratorTest : public testing::Test {
 protected:
  GeneratorTest() : model_(write({.context_length = 256, .seed = 5}), compute_) {}

  std::string write(const TinyModel& tiny) {
    model::test_support::write_tiny_model(folder_.file("tiny.gguf"), tiny);
    return folder_.file("tiny.gguf");
  }

  Generator generator(GeneratorOptions options = {}) {
    if (options.pool_bytes == GeneratorOptions{}.pool_bytes) options.pool_bytes = 1 << 20;
    return {model_, compute_, options};
  }

  struct Answer {
    Tokens tokens;
    GenerateStats stats;
  };
  static Answer ask(Generator& generator, const Tokens& prompt, int n, const SamplingParams& sampling = {},
                    int cancel_at = -1) {
    Answer answer;
    answer.stats = generator.generate(prompt, n, sampling, [&](model::Token token) {
      answer.tokens.push_back(token);
      return static_cast<int>(answer.tokens.size()) != cancel_at;
    });
    return answer;
  }
  Tokens fresh(const Tokens& prompt, int n, const SamplingParams& sampling = {}) {
    Generator one = generator();
    return ask(one, prompt, n, sampling).tokens;
  }
  static Code code_of(Generator& generator, const Tokens& prompt, const SamplingParams& sampling = {}) {
    try {
      ask(generator, prompt, 4, sampling);
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << "no error";
    return Code::internal;
  }
  static size_t used_pages(const Generator& generator) {
    return generator.pool().n_pages() - generator.pool().free_pages();
  }

  TemporaryFolder folder_;
  ComputePool compute_{2};
  model::LoadedModel model_;
};

TEST_F(GeneratorTest, GreedyTokensAreLibllamas) {
  const Tokens prompt = some_tokens(40);
  model::test_support::LlamaOracle oracle(model_.file.path(), {.n_ctx = 256, .n_threads = 1});
  Generator ours = generator({.kv_type = kv::KvType::f32});
  const Tokens answer = ask(ours, prompt, 64).tokens;
  // Teacher forced: position p's logits choose token p + 1.
  const Tokens all = joined(prompt, answer);
  const std::vector<float> logits = oracle.logits(all);
  const auto n_vocab = static_cast<size_t>(oracle.n_vocab());
  Tokens expected;
  for (size_t at = prompt.size() - 1; at + 1 < all.size(); ++at)
    expected.push_back(argmax(std::span(logits).subspan(at * n_vocab, n_vocab)));
  EXPECT_EQ(answer, expected);
  EXPECT_GT(answer.size(), 30u);
}

// Pages behind sliding windows are gone: who goes further back than they reach starts anew.
TEST_F(GeneratorTest, ReusesWhatItsSlidingWindowsStillHold) {
  const model::LoadedModel windows(write({.context_length = 600,
                                          .qk_norm = true,
                                          .post_norms = true,
                                          .sliding_window = 40,
                                          .window_pattern = 2,
                                          .architecture = "gemma3"}),
                                   compute_);
  const auto fresh_answer = [&](const Tokens& prompt) {
    Generator one(windows, compute_, {.pool_bytes = 1 << 20});
    return ask(one, prompt, 20).tokens;
  };
  Generator warm(windows, compute_, {.pool_bytes = 1 << 20, .chunk_tokens = 30});
  const Tokens first = some_tokens(300, 1);
  const Answer answer = ask(warm, first, 20);
  EXPECT_EQ(answer.tokens, fresh_answer(first));
  EXPECT_LE(used_pages(warm), 2u * 20 + 2u * 7);  // of two heads all rows, of two the last 319 - 256
  const Tokens second = joined(joined(first, answer.tokens), some_tokens(30, 5));
  const Answer went_on = ask(warm, second, 20);
  EXPECT_EQ(went_on.stats.reused_tokens, 319);
  EXPECT_EQ(went_on.tokens, fresh_answer(second));
  const Tokens back = joined(Tokens(first.begin(), first.begin() + 100), some_tokens(30, 7));
  const Answer anew = ask(warm, back, 20);
  EXPECT_EQ(anew.stats.reused_tokens, 0);
  EXPECT_EQ(anew.tokens, fresh_answer(back));
}

TEST_F(GeneratorTest, ReusedPrefixGivesTheTokensOfAFreshStart) {
  for (const kv::KvType type : {kv::KvType::f32, kv::KvType::bf16, kv::KvType::int8}) {
    for (const int shared : {0, 1, 15, 16, 17, 60}) {
      SCOPED_TRACE(std::string(kv::kv_type_name(type)) + " shared " + std::to_string(shared));
      const Tokens common = some_tokens(shared, 9);
      const Tokens first = joined(common, some_tokens(20, 1));
      const Tokens second = joined(common, some_tokens(33, 2));
      Generator warm = generator({.kv_type = type, .chunk_tokens = 7});
      Generator cold = generator({.kv_type = type});
      ask(warm, first, 20);
      const Answer answer = ask(warm, second, 20);
      EXPECT_EQ(answer.stats.reused_tokens, shared);
      EXPECT_EQ(answer.tokens, ask(cold, second, 20).tokens);
    }
  }
}

TEST_F(GeneratorTest, TheNextTurnReusesAllOfTheFirst) {
  Generator warm = generator();
  const Tokens prompt = some_tokens(30);
  const Answer first = ask(warm, prompt, 20);
  const Tokens history = joined(prompt, first.tokens);
  const Tokens second = joined(history, some_tokens(10, 3));
  const Answer answer = ask(warm, second, 20);
  // The last token of an answer that ended by its length was never fed.
  EXPECT_GE(answer.stats.reused_tokens, static_cast<int>(history.size()) - 1);
  EXPECT_EQ(answer.tokens, fresh(second, 20));
  // The same prompt again: only its last token runs.
  EXPECT_EQ(ask(warm, second, 20).stats.reused_tokens, static_cast<int>(second.size()) - 1);
}

TEST_F(GeneratorTest, ForgetEmptiesThePool) {
  Generator one = generator();
  EXPECT_EQ(used_pages(one), 0u);
  const Answer answer = ask(one, some_tokens(100), 20);
  EXPECT_EQ(answer.stats.kv_bytes, used_pages(one) * one.pool().page_bytes());
  EXPECT_GT(used_pages(one), 0u);
  one.forget();
  EXPECT_EQ(used_pages(one), 0u);
  EXPECT_EQ(ask(one, some_tokens(100), 20).tokens, answer.tokens);
}

TEST_F(GeneratorTest, ErrorsLeaveItUsable) {
  Generator one = generator();
  const Tokens prompt = some_tokens(50);
  const Tokens expected = ask(one, prompt, 20).tokens;
  EXPECT_EQ(code_of(one, {}), Code::bad_request);
  EXPECT_EQ(code_of(one, {5, 320}), Code::bad_request);
  EXPECT_EQ(code_of(one, {-1}), Code::bad_request);
  EXPECT_EQ(code_of(one, some_tokens(256)), Code::context_too_long);
  EXPECT_EQ(code_of(one, prompt, {.top_p = 2.0f}), Code::bad_request);
  EXPECT_THROW(one.generate(prompt, 0, {}, [](model::Token) { return true; }), Error);
  const auto failing = [](model::Token) -> bool { throw Error{Code::io, "the reader is gone"}; };
  EXPECT_THROW(one.generate(prompt, 20, {}, failing), Error);
  const Answer again = ask(one, prompt, 20);
  EXPECT_EQ(again.tokens, expected);
  EXPECT_EQ(again.stats.reused_tokens, 49);  // errors cost nothing of what is cached
}

TEST_F(GeneratorTest, CancelledAtEveryToken) {
  const Tokens prompt = some_tokens(30);
  const Tokens expected = fresh(prompt, 20);
  Generator one = generator();
  for (int at = 1; at <= static_cast<int>(expected.size()); ++at) {
    const Answer answer = ask(one, prompt, 20, {}, at);
    EXPECT_EQ(answer.tokens, Tokens(expected.begin(), expected.begin() + at));
    EXPECT_EQ(answer.stats.finish_reason, FinishReason::cancelled);
    EXPECT_EQ(answer.stats.rows, 30 + at - 1);
  }
  EXPECT_EQ(ask(one, prompt, 20).tokens, expected);
}

TEST_F(GeneratorTest, CancelledBetweenTheChunksOfAPrompt) {
  const Tokens prompt = some_tokens(100);
  Generator one = generator({.chunk_tokens = 10});
  int asked = 0;
  const auto stats = one.generate(
      prompt, 20, {}, [](model::Token) { return true; }, [&] { return ++asked < 4; });
  EXPECT_EQ(stats.finish_reason, FinishReason::cancelled);
  EXPECT_EQ(stats.generated_tokens, 0);
  EXPECT_EQ(stats.rows, 30);
  const Answer whole = ask(one, prompt, 20);
  EXPECT_EQ(whole.stats.reused_tokens, 30);
  EXPECT_EQ(whole.tokens, fresh(prompt, 20));
}

TEST_F(GeneratorTest, FullPoolEndsTheAnswer) {
  // 4 (layer, head) pairs; pages of 16 rows: 3 blocks hold 48 rows.
  const size_t page_bytes = generator().pool().page_bytes();
  Generator small = generator({.pool_bytes = 12 * page_bytes});
  const Tokens prompt = some_tokens(40);
  const Answer answer = ask(small, prompt, 100);
  EXPECT_EQ(answer.stats.finish_reason, FinishReason::pool_full);
  EXPECT_EQ(answer.stats.rows, 48);
  EXPECT_EQ(answer.stats.generated_tokens, 9);  // the last row's token is still sampled
  const Tokens whole = fresh(prompt, 9);
  EXPECT_EQ(answer.tokens, whole);
  EXPECT_EQ(code_of(small, some_tokens(48)), Code::pool_too_small);
  EXPECT_EQ(ask(small, some_tokens(47, 4), 100).stats.generated_tokens, 2);
}

TEST_F(GeneratorTest, FullContextEndsTheAnswer) {
  Generator one = generator();
  const Answer answer = ask(one, some_tokens(250), 100);
  EXPECT_EQ(answer.stats.finish_reason, FinishReason::context_full);
  EXPECT_EQ(answer.stats.generated_tokens, 6);
  EXPECT_EQ(ask(one, some_tokens(255), 100).stats.generated_tokens, 1);
}

TEST_F(GeneratorTest, ASeedGivesTheSameAnswerInAnyCompany) {
  const Tokens prompt = some_tokens(30);
  const SamplingParams seven{.temperature = 1.5f, .seed = 7};
  const Tokens expected = fresh(prompt, 30, seven);
  Generator one = generator({.chunk_tokens = 3});
  ask(one, some_tokens(50, 2), 30, {.temperature = 1.0f, .seed = 1});
  EXPECT_EQ(ask(one, prompt, 30, seven).tokens, expected);
  EXPECT_NE(ask(one, prompt, 30, {.temperature = 1.5f, .seed = 8}).tokens, expected);
}

TEST_F(GeneratorTest, RefusesAPoolWithoutAPage) {
  EXPECT_THROW(generator({.pool_bytes = 10}), Error);
  EXPECT_THROW(generator({.chunk_tokens = 0}), Error);
}

}  // namespace
}  // namespace fastcache::engine
