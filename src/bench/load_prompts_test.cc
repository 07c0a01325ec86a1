// SPDX-License-Identifier: Apache-2.0
#include "bench/load_prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/test_seed.h"
#include "bench/load_bodies.h"

namespace fastcache::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class LoadPrompts : public testing::Test {
 protected:
  LoadPrompts() { std::filesystem::create_directories(folder_); }
  ~LoadPrompts() override { std::filesystem::remove_all(folder_); }

  std::vector<LoadPrompt> read(const std::string& name, const std::string& content) {
    path_ = folder_ / name;
    std::ofstream(path_) << content;
    return read_prompts(path_.string(), [](std::string_view text) { return static_cast<int>(text.size()); });
  }
  std::string refusal(const std::string& name, const std::string& content) {
    try {
      read(name, content);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(path_.string()));
      return error.what();
    }
    return "nothing was refused";
  }
  static std::vector<std::string> texts(const std::vector<LoadPrompt>& prompts) {
    std::vector<std::string> texts;
    for (const LoadPrompt& prompt : prompts) texts.push_back(prompt.text);
    return texts;
  }

 private:
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("load_prompts_" + std::to_string(getpid()));
  std::filesystem::path path_;
};

TEST_F(LoadPrompts, TextIsAPromptALine) {
  EXPECT_THAT(texts(read("a.txt", "one\r\n\n  \nÄpfel and pears\n[\"x\"]")),
              ElementsAre("one", "Äpfel and pears", "[\"x\"]"));
}

TEST_F(LoadPrompts, JsonlHasPromptsOrMessages) {
  const auto prompts = read("a.jsonl", R"({"prompt": "hello", "max_tokens": 7, "id": 3}

{"prompt": [0, 49151]}
{"messages": [{"role": "user", "content": "hi"}]})");
  ASSERT_EQ(prompts.size(), 3u);
  EXPECT_EQ(prompts[0].text, "hello");
  EXPECT_EQ(prompts[0].generate_tokens, 7);
  EXPECT_THAT(prompts[1].tokens, ElementsAre(0, 49151));
  EXPECT_EQ(prompts[2].messages, R"([{"content":"hi","role":"user"}])");
  EXPECT_EQ(prompts[2].generate_tokens, 0);
}

TEST_F(LoadPrompts, ShareGptGivesTheFirstQuestionAndTheAnswersLength) {
  const auto prompts = read("a.json", R"([
    {"id": "1", "conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "because"},
                                  {"from": "human", "value": "really?"}], "items": {"a": {"b": 1}}},
    {"conversations": [{"from": "gpt", "value": "I begin"}, {"from": "human", "value": "no"}]},
    {"conversations": [{"from": "human", "value": "alone"}]},
    {"conversations": [{"from": "human", "value": 4}, {"from": "gpt", "value": "x"}]},
    {"conversations": []}, {"other": 1}, [], 5, null,
    {"conversations": [{"from": "user", "value": "two"}, {"from": "assistant", "value": "ok"}]}])");
  EXPECT_THAT(texts(prompts), ElementsAre("why?", "two"));
  EXPECT_EQ(prompts.at(0).generate_tokens, 7);
  EXPECT_EQ(prompts.at(1).generate_tokens, 2);
}

TEST_F(LoadPrompts, BrokenFilesAreRefusedWithTheirLine) {
  EXPECT_THROW(read_prompts("/nowhere/x.txt", estimate_tokens), Error);
  EXPECT_THAT(refusal("a.txt", ""), HasSubstr("empty"));
  EXPECT_THAT(refusal("a.txt", "\n \n"), HasSubstr("no prompt"));
  EXPECT_THAT(refusal("a.txt",
                      "good\nb\xff"
                      "d\n"),
              HasSubstr("line 2: byte 2"));
  EXPECT_THAT(refusal("a.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \n"), HasSubstr("line 2: it is no JSON"));
  EXPECT_THAT(refusal("a.jsonl", "[1]"), HasSubstr("line 1"));
  EXPECT_THAT(refusal("a.jsonl", "{\"prompt\": 5}"), HasSubstr("must have"));
  for (const char* tokens : {"[]", "[-1]", "[1.5]", "[\"a\"]", "[3000000000]"})
    EXPECT_THAT(refusal("a.jsonl", fmt::format("{{\"prompt\": {}}}", tokens)), HasSubstr("token ids"));
  EXPECT_THAT(refusal("a.jsonl", "{\"prompt\": \"\"}"), HasSubstr("empty"));
  EXPECT_THAT(refusal("a.jsonl", "{\"messages\": []}"), HasSubstr("must have"));
  EXPECT_THAT(refusal("a.jsonl", R"({"prompt": "a", "max_tokens": 0})"), HasSubstr("max_tokens"));
  EXPECT_THAT(refusal("a.jsonl", R"({"prompt": "a", "max_tokens": 1e99})"), HasSubstr("max_tokens"));
  EXPECT_THAT(refusal("a.json", "[{\"conversations\": [{\"from\": \"hu"), HasSubstr("is no JSON"));
  EXPECT_THAT(refusal("a.json", "{\"conversations\": []}"), HasSubstr("no array"));
  EXPECT_THAT(refusal("a.json", "[]"), HasSubstr("no prompt"));
  EXPECT_THAT(refusal("a.json", std::string(100'000, '[')), HasSubstr("is no JSON"));
}

TEST_F(LoadPrompts, DrawnAreAllBeforeAnyTwice) {
  std::vector<LoadPrompt> all;
  for (int i = 0; i < 50; ++i) all.push_back({.text = std::to_string(i), .tokens = {}, .messages = {}});
  const uint64_t seed = test_seed();
  const auto drawn = texts(draw_prompts(all, 120, seed));
  EXPECT_EQ(drawn, texts(draw_prompts(all, 120, seed)));
  EXPECT_NE(drawn, texts(draw_prompts(all, 120, seed + 1)));
  EXPECT_EQ(std::set(drawn.begin(), drawn.begin() + 50).size(), 50u);
  EXPECT_TRUE(std::equal(drawn.begin(), drawn.begin() + 50, drawn.begin() + 50));
  EXPECT_EQ(draw_prompts(all, 3, seed).size(), 3u);
}

TEST_F(LoadPrompts, SyntheticOnesAreTokensOrWords) {
  ServingLoad load{.requests = 3, .prompt_tokens = 40, .n_vocab = 100, .seed = test_seed()};
  EXPECT_EQ(synthetic_prompts(load).at(2).tokens, random_prompts(load).at(2))
      << "the engine's load is the same";
  load.n_vocab = 0;
  const auto words = synthetic_prompts(load);
  ASSERT_EQ(words.size(), 3u);
  for (const LoadPrompt& prompt : words)
    EXPECT_EQ(std::count(prompt.text.begin(), prompt.text.end(), ' '), 39);
  EXPECT_NE(words[0].text, words[1].text);
}

TEST(LoadBodies, EachFormOfPrompt) {
  const std::vector<LoadPrompt> plain{{.text = "a", .tokens = {}, .messages = {}, .generate_tokens = 5},
                                      {.text = "b", .tokens = {}, .messages = {}}};
  BodyOptions options{.model = "m",
                      .generate_tokens = 9,
                      .extra = R"j({"kv_compression": "knorm(ratio=0.8)", "temperature": 1})j"};
  const auto bodies = make_bodies(plain, options);
  EXPECT_EQ(nlohmann::json::parse(bodies.at(0).json), nlohmann::json::parse(R"j({"model": "m", "prompt": "a",
    "max_tokens": 5, "temperature": 1, "stream": true, "stream_options": {"include_usage": true},
    "ignore_eos": true, "kv_compression": "knorm(ratio=0.8)"})j"));
  EXPECT_EQ(bodies.at(0).generate_tokens, 5);
  EXPECT_EQ(bodies.at(1).generate_tokens, 9);

  const std::vector<LoadPrompt> tokens{{.text = {}, .tokens = {3, 1}, .messages = {}}};
  options.ignore_eos = false;
  const auto token_body = nlohmann::json::parse(make_bodies(tokens, options).at(0).json);
  EXPECT_EQ(token_body.at("prompt"), nlohmann::json({3, 1}));
  EXPECT_FALSE(token_body.contains("ignore_eos"));

  const std::vector<LoadPrompt> messages{
      {.text = {}, .tokens = {}, .messages = R"([{"role": "user", "content": "x"}])"}};
  EXPECT_THROW(make_bodies(messages, options), Error);
  options.endpoint = "/v1/chat/completions";
  EXPECT_THROW(make_bodies(tokens, options), Error);
  EXPECT_EQ(
      nlohmann::json::parse(make_bodies(messages, options).at(0).json).at("messages").at(0).at("content"),
      "x");
  EXPECT_EQ(nlohmann::json::parse(make_bodies(plain, options).at(1).json).at("messages"),
            nlohmann::json::parse(R"([{"role": "user", "content": "b"}])"));
}

TEST(LoadBodies, RefusesOtherEndpointsAndBrokenExtras) {
  BodyOptions options;
  for (const char* endpoint : {"", "v1/completions", "/v1/embeddings", "/v1/chat"}) {
    options.endpoint = endpoint;
    EXPECT_THROW(make_bodies({}, options), Error) << endpoint;
  }
  options = {};
  for (const char* extra : {"{", "[]", "3", "\"x\""}) {
    options.extra = extra;
    EXPECT_THROW(make_bodies({}, options), Error) << extra;
  }
}

}  // namespace
}  // namespace fastcache::bench
