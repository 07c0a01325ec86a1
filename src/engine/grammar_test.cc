// SPDX-License-Identifier: Apache-2.0
// Random logits under a grammar, on the embedded vocabulary: what comes out is in the language, and what is
// hostile is refused with a sentence.
#include "engine/grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "engine/gbnf_check.h"
#include "engine/gbnf_parse.h"
#include "engine/sampler.h"
#include "engine/text_stream.h"
#include "model/json_schema.h"
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

std::string why_refused(const SamplingParams& params) {
  try {
    Sampler sampler(params, vocab());
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::bad_request);
    return error.what();
  }
  return "accepted";
}
std::string grammar_error(const std::string& gbnf) { return why_refused({.grammar = gbnf}); }
std::string schema_error(const std::string& schema) { return why_refused({.json_schema = schema}); }

TEST(Gbnf, ErrorsSayWhere) {
  EXPECT_THAT(grammar_error("root ::= \"a"),
              HasSubstr("grammar, line 1, column 12: the literal is not closed"));
  EXPECT_THAT(grammar_error("root ::= \"a\"\n  b = c"), HasSubstr("line 2, column 5: expected ::="));
  EXPECT_THAT(grammar_error("root ::= a"), HasSubstr("the rule a is used, but not defined"));
  EXPECT_THAT(grammar_error("a ::= \"a\""), HasSubstr("no rule named root"));
  EXPECT_THAT(grammar_error("root ::= (\"a\""), HasSubstr("expected )"));
  EXPECT_THAT(grammar_error("root ::= [a"), HasSubstr("not closed by ]"));
  EXPECT_THAT(grammar_error("root ::= [a-"), HasSubstr("range of characters has no end"));
  EXPECT_THAT(grammar_error("root ::= []"), HasSubstr("empty"));
  EXPECT_THAT(grammar_error("root ::= \"\\q\""), HasSubstr("unknown escape"));
  EXPECT_THAT(grammar_error("root ::= \"\\x1\""), HasSubstr("2 hexadecimal digits"));
  EXPECT_THAT(grammar_error("root ::= *"), HasSubstr("nothing in front of it"));
  EXPECT_THAT(grammar_error("root ::= \"a\"{2,1}"), HasSubstr("below the smallest"));
  EXPECT_THAT(grammar_error("root ::= \"a\"{3001}"), HasSubstr("at most 2000"));
  EXPECT_THAT(grammar_error("root ::= <5>"), HasSubstr("not supported"));
  EXPECT_THAT(grammar_error("root ::= \"\xC3\""), HasSubstr("UTF-8"));
  EXPECT_THAT(grammar_error(std::string("root ::= \"a\0\"", 13)), HasSubstr("NUL"));
  EXPECT_THAT(grammar_error("# nothing"), HasSubstr("root"));
}

TEST(Gbnf, HostileOnesAreRefusedAtOnce) {
  EXPECT_THAT(grammar_error("root ::= root \"a\" | \"b\""), HasSubstr("begins with itself"));
  EXPECT_THAT(grammar_error("root ::= a root \"x\"\na ::= b\nb ::= \"\""), HasSubstr("begins with itself"));
  EXPECT_THAT(grammar_error("root ::= " + std::string(100000, '(')), HasSubstr("nested"));
  std::string doubling, chain;
  for (int i = 0; i < 60; ++i) doubling += fmt::format("a{0} ::= a{1} | a{1}\n", i, i + 1);
  EXPECT_THAT(grammar_error("root ::= a0\n" + doubling + "a60 ::= \"x\""), HasSubstr("too many ways"));
  for (int i = 0; i < 8000; ++i) chain += fmt::format("a{} ::= a{}\n", i, i + 1);
  EXPECT_THAT(grammar_error("root ::= a0\n" + chain + "a8000 ::= \"x\""), HasSubstr("nested too deeply"));
  EXPECT_THAT(grammar_error("root ::= \"" + std::string(100, 'a') + "\"{2000}"), HasSubstr("too large"));
  EXPECT_THAT(grammar_error("root ::= (\"a\"{0,50} \"b\"){0,50}"), HasSubstr("repetitions of repetitions"));
  EXPECT_THAT(grammar_error(std::string(kMaxGbnfBytes + 1, ' ')), HasSubstr("at most"));
}

TEST(Gbnf, WhatLibllamaReadsWeReadToo) {
  for (const char* gbnf : {"root ::= \"a\" | \"b\" # comment\n\n# more\n",
                           "root ::=\n  x y?\nx ::= [a-z0-9_-]+ (\n \"c\" |\n [^\\]\\\\\"] )*\ny ::= .{2} "
                           "z{1,} | z{0,3}\nz ::= \"\\u00e4\"\r\n",
                           "root::=\"\"", "root ::= | \"a\"", "a-1 ::= \"x\"\nroot ::= a-1",
                           "root ::= \"a\" root | \"b\"", "root ::= \"\xE2\x82\xAC\"{ 2 , 3 }"}) {
    EXPECT_EQ(grammar_error(gbnf), "accepted") << gbnf;
  }
}

// Two readers of one language: what ours accepts, libllama must not refuse as wrong; and it must return.
TEST(Gbnf, WhatWeAcceptLibllamaParses) {
  std::mt19937 random(static_cast<uint32_t>(test_seed()));
  const std::vector<std::string> parts{"\"x\"", "\"\"", "[a-z]",  "[^b]", ".", "a", "b",   "root",
                                       "(",     ")",    "|",      "*",    "+", "?", "{2}", "{,",
                                       "{0,}",  "{0}",  "{1,40}", "\n",   "#", "\\"};
  std::vector<model::Token> tokens;
  for (const char* text : {"x", "a", "b", "\n"}) tokens.push_back(vocab().tokenize(text, {}).at(0));
  int n_accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string gbnf;
    for (const char* rule : {"root", "a", "b"}) {
      gbnf += fmt::format("{} ::= ", rule);
      const size_t n = random() % 8;
      for (size_t i = 0; i < n; ++i) gbnf += parts[random() % (random() % 4 == 0 ? parts.size() : 13)] + " ";
      gbnf += "\n";
    }
    try {
      check_gbnf(gbnf, "grammar");
    } catch (const Error&) {
      continue;
    }
    ++n_accepted;
    try {
      Grammar grammar(vocab(), gbnf, "grammar");
      const model::Token token = tokens[random() % tokens.size()];
      if (grammar.allows(token)) {
        Grammar fork = grammar.fork();
        grammar.accept(token);
        fork.accept(token);
        for (const model::Token next : tokens) EXPECT_EQ(grammar.allows(next), fork.allows(next)) << gbnf;
      }
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("left recursion"))
          << gbnf;  // libllama's own, of a repeated "or nothing"
    }
  }
  EXPECT_GT(n_accepted, 100);
}

// 2^n ways to read n letters.
TEST(Gbnf, AnExplosionOfWaysEndsWithAnError) {
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

TEST(JsonSchema, WrongOnesAreRefused) {
  EXPECT_THAT(schema_error("{"), HasSubstr("json_schema"));
  EXPECT_THAT(schema_error("[1]"), HasSubstr("JSON object"));
  EXPECT_THAT(schema_error(R"({"type": "nonsense"})"), HasSubstr("json_schema"));
  EXPECT_THAT(schema_error(R"({"$ref": "#/$defs/nowhere"})"), HasSubstr("json_schema"));
  EXPECT_THAT(schema_error(R"({"type": "string", "minLength": 1000000})"), HasSubstr("2000"));
  EXPECT_THAT(schema_error(std::string(70, '[') + std::string(70, ']')), HasSubstr("70 deep"));
  EXPECT_THAT(schema_error(std::string(model::kMaxSchemaBytes + 1, ' ')), HasSubstr("at most"));
  EXPECT_NE(schema_error(R"({"$ref": "#"})"), "accepted");
  EXPECT_NE(schema_error(R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})"), "accepted");
  EXPECT_EQ(schema_error("{}"), "accepted");
}

}  // namespace
}  // namespace fastcache::engine
