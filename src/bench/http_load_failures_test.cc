// SPDX-License-Identifier: Apache-2.0
// The load generator against servers that answer badly or not at all.
#include "bench/http_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

#include "base/error.h"
#include "base/log.h"
#include "base/test_seed.h"
#include "bench/testing/http_load_testing.h"

namespace fastcache::bench {
namespace {

using namespace test_support;
using State = HttpRecord::State;
using testing::HasSubstr;

TEST(HttpLoad, FailuresAreCountedByKindWithTheFirstMessage) {
  const ScriptedServer server([&](const ReceivedCall& call, ScriptedReply& reply) {
    const int i = std::stoi(call.body);
    if (i < 3) return reply.answer(429, R"({"error":{"message":"queue full"}})");
    if (i == 3) return reply.answer(500, "<html>oops");
    if (i == 4) return reply.hang_up();
    if (i == 5) return reply.send("SMTP ready\r\n\r\n");
    reply.begin_stream();
    if (i == 6) return reply.hang_up();
    reply.send_chunk(text_event("a"));
    if (i == 7) return reply.hang_up();
    if (i == 8) reply.send_chunk(sse_event("{\"broken"));
    if (i == 9) reply.send_chunk(sse_event(R"({"error":{"message":"pool full"}})"));
    if (i == 10) return reply.end_stream();
    if (i == 11) return reply.send("zz\r\nno chunk");
    reply.send_chunk(done_event());
    reply.end_stream();
  });
  HttpLoadOptions options = load_on(server, 13);
  options.max_concurrency = 1;  // failures leave the connection usable, or are followed by a new one
  const HttpLoadRun run = run_http_load(options);
  std::vector<std::string> errors;
  for (const HttpRecord& record : run.records) errors.push_back(record.answer.error);
  EXPECT_EQ(errors[1], "queue full");
  EXPECT_EQ(errors[3], "<html>oops");
  EXPECT_THAT(errors[4], HasSubstr("without an answer"));
  EXPECT_THAT(errors[5], HasSubstr("no HTTP"));
  EXPECT_THAT(errors[6], HasSubstr("mid-answer"));
  EXPECT_THAT(errors[7], HasSubstr("mid-answer"));
  EXPECT_THAT(errors[8], HasSubstr("{\"broken"));
  EXPECT_THAT(errors[9], HasSubstr("pool full"));
  EXPECT_THAT(errors[10], HasSubstr("ended before"));
  EXPECT_THAT(errors[11], HasSubstr("no HTTP"));
  EXPECT_EQ(errors[12], "");
  const HttpLoadResult result = summarise(run, options.bodies, {});
  EXPECT_EQ(result.completed, 1);
  EXPECT_EQ(result.failed, 12);
  EXPECT_EQ(result.short_answers, 1);
  ASSERT_EQ(result.failures.size(), 4u);
  EXPECT_EQ(result.failures[0].kind, "broken answer");
  EXPECT_EQ(result.failures[0].count, 6);
  EXPECT_EQ(result.failures[1].kind, "HTTP 429");
  EXPECT_EQ(result.failures[1].count, 3);
  EXPECT_EQ(result.failures[1].first_message, "queue full");
  EXPECT_EQ(result.failures[2].kind, "no answer");
  EXPECT_EQ(result.failures[3].kind, "HTTP 500");
}

TEST(HttpLoad, AKeptConnectionThatTheServerClosedIsNoFailure) {
  const ScriptedServer server([&](const ReceivedCall&, ScriptedReply& reply) {
    answer_well(reply);  // says nothing of closing
    reply.hang_up();
  });
  HttpLoadOptions options = load_on(server, 20);
  options.max_concurrency = 1;
  EXPECT_EQ(run_and_summarise(options).completed, 20);
  EXPECT_EQ(server.connections(), 20);
}

TEST(HttpLoad, AServerThatSaysNothingIsGivenUp) {
  Gate gate;
  const ScriptedServer server([&](const ReceivedCall& call, ScriptedReply& reply) {
    reply.begin_stream();
    if (call.body == "1") gate.wait();
    reply.send_chunk(text_event("a") + done_event());
    reply.end_stream();
  });
  HttpLoadOptions options = load_on(server, 2);
  options.server.timeout_s = 0.2;
  const HttpLoadRun run = run_http_load(options);
  gate.open();
  EXPECT_EQ(run.records[0].state, State::completed);
  EXPECT_THAT(run.records[1].answer.error, HasSubstr("nothing for 0.2 s"));
}

TEST(HttpLoad, TheStopHandleEndsItWithTheFiguresSoFar) {
  Gate gate;
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(pipe(pipe_ends.data()), 0);
  const ScriptedServer server([&](const ReceivedCall& call, ScriptedReply& reply) {
    if (call.body == "2") {  // the third: two are complete, for one is sent at a time
      EXPECT_EQ(write(pipe_ends[1], "", 1), 1);
      gate.wait();
    }
    answer_well(reply);
  });
  HttpLoadOptions options = load_on(server, 5);
  options.max_concurrency = 1;
  options.stop_handle = pipe_ends[0];
  std::vector<LoadProgress> seen;
  options.progress = [&](const LoadProgress& progress) { seen.push_back(progress); };
  const HttpLoadRun run = run_http_load(options);
  gate.open();
  for (const int end : pipe_ends) close(end);
  const HttpLoadResult result = summarise(run, options.bodies, {});
  EXPECT_EQ(result.completed, 2);
  EXPECT_EQ(result.failed, 0);
  EXPECT_EQ(result.not_finished, 3);
  EXPECT_EQ(run.records[2].state, State::in_flight);
  EXPECT_EQ(run.records[4].state, State::not_sent);
  EXPECT_EQ(seen.back().completed, 2);
  EXPECT_EQ(seen.back().requests, 5);
}

TEST(HttpLoad, NobodyListensIsAFailureOfEachRequest) {
  HttpLoadOptions options;
  {
    const ScriptedServer server([](const ReceivedCall&, ScriptedReply&) {});
    options = load_on(server, 3);
  }
  const HttpLoadResult result = run_and_summarise(options);
  EXPECT_EQ(result.failed, 3);
  EXPECT_EQ(result.failures.at(0).kind, "no answer");
  EXPECT_THAT(result.failures.at(0).first_message, HasSubstr("refused"));
}

std::string refusal(const Script& script, const std::function<void(const LoadServer&)>& what, Code code) {
  const ScriptedServer server(script);
  try {
    what({.url = parse_load_url(server.url()), .api_key = "", .timeout_s = 20});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(server.url()));
    return error.what();
  }
  return "nothing was refused";
}

TEST(HttpLoad, TheFirstModelIsAskedFor) {
  const ScriptedServer server([](const ReceivedCall& call, ScriptedReply& reply) {
    EXPECT_EQ(call.method + " " + call.path, "GET /v1/models");
    reply.answer(200, R"({"object":"list","data":[{"id":"smol"},{"id":"other"}]})");
  });
  EXPECT_EQ(first_model({.url = parse_load_url(server.url()), .api_key = ""}), "smol");
  const auto ask = [](const LoadServer& server) { first_model(server); };
  const auto answer = [](int status, const char* body) {
    return [=](const ReceivedCall&, ScriptedReply& reply) { reply.answer(status, body); };
  };
  EXPECT_THAT(refusal(answer(401, R"({"error":{"message":"no key"}})"), ask, Code::unauthorized),
              HasSubstr("no key"));
  EXPECT_THAT(refusal(answer(404, ""), ask, Code::unsupported), HasSubstr("HTTP 404"));
  for (const char* body : {"", "[]", R"({"data":[]})", R"({"data":[{"id":5}]})", R"({"data":{}})"})
    EXPECT_THAT(refusal(answer(200, body), ask, Code::unsupported), HasSubstr("lists no model"));
  EXPECT_THAT(refusal([](const ReceivedCall&, ScriptedReply& reply) { reply.hang_up(); }, ask, Code::io),
              HasSubstr("is the server running?"));
}

TEST(HttpLoad, TheWarmUpTellsWhatIsWrongBeforeTheLoad) {
  const LoadBody body{.json = "{}", .generate_tokens = 1, .prompt_tokens = 0};
  const auto ask = [&](const LoadServer& server) { warm_up(server, "/v1/completions", body); };
  const ScriptedServer server([](const ReceivedCall&, ScriptedReply& reply) { answer_well(reply); });
  ask({.url = parse_load_url(server.url()), .api_key = ""});
  EXPECT_THAT(refusal([](const ReceivedCall&,
                         ScriptedReply& reply) { reply.answer(400, R"({"error":"no such model"})"); },
                      ask, Code::unsupported),
              HasSubstr("no such model"));
  EXPECT_THAT(refusal([](const ReceivedCall&, ScriptedReply& reply) { reply.answer(200, "{}"); }, ask,
                      Code::unsupported),
              HasSubstr("no stream of events"));
}

}  // namespace
}  // namespace fastcache::bench
