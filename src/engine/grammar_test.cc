// SPDX-License-Identifier: Apache-2.0
// Random logits under a grammar, on the embedded vocabulary: what comes out is in the language.
#include "engine/grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "engine/sampler.h"
#include "engine/text_stream.h"
#include "model/models.h"

namespace fastcache::engine {
namespace {

using ::testing::HasSubstr;

const model::Vocab& vocab() {
  static const model::GgufFile file(model::default_model().string());
  static const model::Vocab vocab(file);
  return vocab;
}

const char* const kSchema = R"({"type": "object", "required": ["name", "age", "tags"],
  "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
    "tags": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"enum": ["a", "b"]}}}, "additionalProperties": false})";

struct Answer {
  std::string text;
  std::vector<model::Token> tokens;
  bool ended = false;
};

std::vector<float> noise(std::mt19937& random, float end_bonus = 0.0f) {
  std::vector<float> logits(static_cast<size_t>(vocab().n_tokens()));
  for (float& logit : logits) logit = static_cast<float>(random() >> 8) * 0x1p-22f;  // 0 to 4
  for (const model::Token token : vocab().eog_tokens()) logits[static_cast<size_t>(token)] += end_bonus;
  return logits;
}

Answer answer(Sampler& sampler, std::mt19937& random, int most, float end_bonus = 0.0f) {
  Answer result;
  TextStream stream(vocab(), std::make_shared<StopStrings>());
  for (int i = 0; i < most && !result.ended; ++i) {
    const model::Token token = sampler.sample(noise(random, end_bonus)).id;
    result.tokens.push_back(token);
    result.ended = vocab().is_eog(token);
    if (!result.ended) result.text += stream.push(token);
  }
  result.text += stream.flush();
  return result;
}

TEST(GrammarSampling, JsonOfASchemaAlwaysParses) {
  std::mt19937 random(static_cast<uint32_t>(test_seed()));
  for (int round = 0; round < 4; ++round) {
    Sampler sampler({.temperature = round % 2 == 0 ? 0.0f : 1.5f, .seed = random(), .json_schema = kSchema},
                    vocab());
    const Answer result = answer(sampler, random, 200);
    ASSERT_TRUE(result.ended) << result.text;
    const nlohmann::json json = nlohmann::json::parse(result.text);  // throws
    EXPECT_LE(json.at("age").get<int>(), 150);
    EXPECT_GE(json.at("tags").size(), 1u);
    EXPECT_LE(json.at("tags").size(), 2u);
    for (const nlohmann::json& tag : json.at("tags")) EXPECT_TRUE(tag == "a" || tag == "b");
    EXPECT_EQ(json.size(), 3u);
  }
}

TEST(GrammarSampling, TheEndComesWhereTheGrammarIsCompleteAndNotBefore) {
  std::mt19937 random(static_cast<uint32_t>(test_seed()));
  for (const bool ignore_eos : {false, true}) {
    Sampler sampler(
        {.min_tokens = ignore_eos ? 0 : 50, .ignore_eos = ignore_eos, .grammar = "root ::= \"yes\" | \"no\""},
        vocab());
    const Answer result = answer(sampler, random, 10, 100.0f);
    EXPECT_TRUE(result.ended);
    EXPECT_TRUE(result.text == "yes" || result.text == "no") << result.text;
  }
}

TEST(GrammarSampling, GreedyIsTheLikeliestAllowedToken) {
  std::mt19937 random(static_cast<uint32_t>(test_seed()));
  const char* gbnf = "root ::= [a-z]{3,8} \" \" [0-9]+ [^\\n]*";
  Sampler sampler({.grammar = gbnf}, vocab());
  Grammar grammar(vocab(), gbnf, "grammar");
  for (int step = 0; step < 12; ++step) {
    const std::vector<float> logits = noise(random);
    model::Token best = -1;
    for (model::Token token = 0; token < vocab().n_tokens(); ++token) {
      const bool better = best < 0 || logits[static_cast<size_t>(token)] > logits[static_cast<size_t>(best)];
      if (better && grammar.allows(token)) best = token;
    }
    ASSERT_EQ(sampler.sample(logits).id, best);
    if (vocab().is_eog(best)) break;
    EXPECT_FALSE(vocab().is_control(best));
    grammar.accept(best);
  }
}

TEST(GrammarSampling, AReplayMustFollowTheGrammar) {
  std::mt19937 random(5);
  Sampler sampler({.temperature = 1.0f, .seed = 4, .json_schema = kSchema}, vocab());
  const Answer whole = answer(sampler, random, 200);
  ASSERT_TRUE(whole.ended);
  const size_t cut = whole.tokens.size() / 2;
  Sampler anew({.temperature = 1.0f, .seed = 4, .json_schema = kSchema}, vocab());
  EXPECT_THROW(anew.accept(vocab().tokenize("x", {}).at(0)), Error);
  EXPECT_THROW(anew.accept(*vocab().eos()), Error);
  std::mt19937 again(5);
  for (size_t i = 0; i < cut; ++i) {
    noise(again);
    anew.accept(whole.tokens[i]);
  }
  Sampler fork = anew.fork(0);
  std::mt19937 once_more = again;
  const std::vector<model::Token> rest(whole.tokens.begin() + static_cast<std::ptrdiff_t>(cut),
                                       whole.tokens.end());
  EXPECT_EQ(answer(anew, again, 200).tokens, rest);
  EXPECT_EQ(answer(fork, once_more, 200).tokens, rest);
}

// 2^n ways to read n letters.
TEST(GrammarSampling, AnExplosionOfWaysEndsWithAnError) {
  Grammar grammar(vocab(), "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"a\"", "grammar");
  const model::Token a = vocab().tokenize("a", {}).at(0);
  int n = 0;
  try {
    for (; n < 1000; ++n) grammar.accept(a);
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("ambiguous"));
  }
  EXPECT_GT(n, 5);
  EXPECT_LT(n, 40);
  EXPECT_THROW(grammar.allows(a), Error);
}

}  // namespace
}  // namespace fastcache::engine
