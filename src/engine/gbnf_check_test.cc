// SPDX-License-Identifier: Apache-2.0
// What is wrong or hostile is refused with a sentence; what is accepted, libllama takes.
#include "engine/gbnf_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "engine/gbnf_parse.h"
#include "engine/grammar.h"
#include "engine/sampler.h"
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
