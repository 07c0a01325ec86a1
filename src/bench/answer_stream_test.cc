// SPDX-License-Identifier: Apache-2.0
#include "bench/answer_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/test_seed.h"

namespace fastcache::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> events_of(const std::vector<std::string>& pieces) {
  std::vector<std::string> events;
  SseEvents sse;
  for (const std::string& piece : pieces)
    EXPECT_TRUE(sse.push(piece, [&](std::string_view data) { events.emplace_back(data); }));
  return events;
}

const std::string kAllForms =
    "data: one\n\n: a comment\r\nevent: x\r\ndata:two\r\ndata: lines\r\n\r\ndata\r\rid: 7\n\n"
    "data:  [DONE]\n\ndata: unfinished\n";

TEST(SseEvents, LineEndsCommentsFieldsAndSeveralLines) {
  EXPECT_THAT(events_of({kAllForms}), ElementsAre("one", "two\nlines", "", " [DONE]"));
}

TEST(SseEvents, CutsAnywhereChangeNothing) {
  const auto whole = events_of({kAllForms});
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> pieces{""};
    for (char c : kAllForms) {
      if (random() % 4 == 0) pieces.emplace_back();
      pieces.back() += c;
    }
    ASSERT_EQ(events_of(pieces), whole);
  }
}

TEST(SseEvents, AnEndlessEventIsRefused) {
  SseEvents sse;
  const std::string piece(1 << 20, 'x');
  int pushed = 0;
  while (pushed < 100 && sse.push(piece, [](std::string_view) {})) ++pushed;
  EXPECT_EQ(pushed, 16);
}

std::string event(const std::string& json) { return "data: " + json + "\n\n"; }

StreamedAnswer read(const std::vector<std::string>& pieces) {
  AnswerStream stream;
  double ms = 0;
  for (const std::string& piece : pieces) stream.push(piece, ms += 10);
  return stream.finish();
}

std::vector<double> times(const StreamedAnswer& answer) {
  std::vector<double> times;
  for (const DeltaTime& delta : answer.deltas) times.push_back(delta.ms);
  return times;
}

TEST(AnswerStream, ChatTheRoleAndTheEndAreNoTokens) {
  const StreamedAnswer answer =
      read({event(R"({"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]})"),
            event(R"({"choices":[{"delta":{"content":"Hel"},"finish_reason":null}],"usage":null})"),
            event(R"({"choices":[{"delta":{"content":"lo"}}]})"),
            event(R"({"choices":[{"delta":{},"finish_reason":"stop"}]})"),
            event(R"({"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3}})"), event("[DONE]")});
  EXPECT_EQ(answer.error, "");
  EXPECT_THAT(times(answer), ElementsAre(20, 30));
  EXPECT_EQ(answer.prompt_tokens, 12);
  EXPECT_EQ(answer.output_tokens, 3);
}

TEST(AnswerStream, CompletionsCarryTextOrTokensWithoutText) {
  const StreamedAnswer answer =
      read({event(R"({"choices":[{"text":""}]})"), event(R"({"choices":[{"text":"a"}]})"),
            event(R"({"choices":[{"text":"","token_ids":[7]}]})"),
            event(R"({"choices":[{"text":"","logprobs":{"tokens":["x"]}}]})"),
            event(R"({"choices":[{"text":"b","finish_reason":"length"}]})")});
  EXPECT_EQ(answer.error, "");
  EXPECT_THAT(times(answer), ElementsAre(20, 30, 40, 50));
  EXPECT_FALSE(answer.output_tokens.has_value());
}

TEST(AnswerStream, ToolCallsAndReasoningAreTokens) {
  const StreamedAnswer answer =
      read({event(R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})"),
            event(R"({"choices":[{"delta":{"tool_calls":[{"index":0}]}}]})"), event("[DONE]")});
  EXPECT_EQ(answer.error, "");
  EXPECT_THAT(times(answer), ElementsAre(10, 20));
}

TEST(AnswerStream, WhatIsWrongIsSaidOnce) {
  const std::string good = event(R"({"choices":[{"text":"a"}]})"), done = event("[DONE]");
  EXPECT_THAT(read({good}).error, HasSubstr("ended before"));
  EXPECT_THAT(read({}).error, HasSubstr("no stream of events"));
  EXPECT_THAT(read({R"({"choices":[{"text":"not streamed"}]})"}).error, HasSubstr("no stream of events"));
  EXPECT_THAT(read({done}).error, HasSubstr("no text"));
  EXPECT_THAT(read({good, event("{\"cho"), done}).error, HasSubstr("no JSON object: {\"cho"));
  EXPECT_THAT(read({good, event("[1]"), done}).error, HasSubstr("no JSON object"));
  EXPECT_THAT(read({good, event(R"({"error":{"message":"pool\nempty"}})"), done}).error,
              HasSubstr("reports an error: pool empty"));
}

TEST(AnswerStream, WrongTypesAreNoTokensAndNoCrash) {
  for (const char* json :
       {R"({"choices":{}})", R"({"choices":[3,null,"x",[]]})", R"({"choices":[{"delta":7,"text":{}}]})",
        R"({"choices":[{"logprobs":[],"text":null,"finish_reason":5}],"usage":"no"})",
        R"({"usage":{"prompt_tokens":"4","completion_tokens":1.5}})", "{}"}) {
    const StreamedAnswer answer = read({event(json), event("[DONE]")});
    EXPECT_THAT(answer.error, HasSubstr("no text")) << json;
    EXPECT_FALSE(answer.prompt_tokens || answer.output_tokens) << json;
  }
}

TEST(AnswerStream, MessagesOfAllKindsOfServers) {
  EXPECT_EQ(error_message(R"({"error":{"message":"queue full"}})"), "queue full");
  EXPECT_EQ(error_message(R"({"error":"bad"})"), "bad");
  EXPECT_EQ(error_message(R"({"message":"m"})"), "m");
  EXPECT_EQ(error_message(R"({"detail":"Not Found"})"), "Not Found");
  EXPECT_EQ(error_message("<h1>\x1b[2J500</h1>"), "<h1> [2J500</h1>");
  EXPECT_EQ(error_message(""), "no message");
}

TEST(AnswerStreamTest, WhatTheEngineNeededForTheFirstToken) {
  const std::string token = event(R"({"choices":[{"text":"a","finish_reason":null}]})");
  const std::string end = R"({"choices":[{"text":"","finish_reason":"length"}])";
  const std::string done = "data: [DONE]\n\n";
  EXPECT_EQ(read({token, event(end + R"(,"fastcache":{"ttft_ms":12.5}})"), done}).engine_ttft_ms, 12.5);
  EXPECT_EQ(read({token, event(end + R"(,"fastcache":{"ttft_ms":"x"}})"), done}).engine_ttft_ms,
            std::nullopt);
  EXPECT_EQ(read({token, event(end + "}"), done}).engine_ttft_ms, std::nullopt);
}

}  // namespace
}  // namespace fastcache::bench
