// SPDX-License-Identifier: Apache-2.0
// The load generator against servers that answer by script.
#include "bench/http_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "base/test_seed.h"
#include "bench/testing/http_load_testing.h"

namespace fastcache::bench {
namespace {

using namespace test_support;
using State = HttpRecord::State;

TEST(HttpLoad, CutsAnywhereGiveTheSameFigures) {
  const uint64_t seed = test_seed();
  const ScriptedServer server([&](const ReceivedCall& call, ScriptedReply& reply) {
    std::mt19937_64 random(seed + static_cast<uint64_t>(call.number));
    std::string all = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (const std::string& event :
         {text_event("a"), text_event("b"), text_event("c"), usage_event() + done_event()}) {
      const size_t cut = random() % event.size();
      for (const std::string& part : {event.substr(0, cut), event.substr(cut)})
        if (!part.empty()) all += fmt::format("{:x}\r\n{}\r\n", part.size(), part);
    }
    all += "0\r\n\r\n";
    while (!all.empty()) {
      const size_t n = 1 + random() % 40;
      reply.send(all.substr(0, n));
      all.erase(0, n);
    }
  });
  const HttpLoadOptions options = load_on(server, 20);
  const HttpLoadRun run = run_http_load(options);
  for (const HttpRecord& record : run.records) {
    EXPECT_EQ(record.answer.error, "");
    EXPECT_EQ(record.answer.deltas.size(), 3u);
    EXPECT_TRUE(std::is_sorted(record.answer.deltas.begin(), record.answer.deltas.end(),
                               [](const auto& a, const auto& b) { return a.ms < b.ms; }));
  }
  const HttpLoadResult result = summarise(run, options.bodies, {});
  EXPECT_EQ(result.completed, 20);
  EXPECT_EQ(result.total_input_tokens, 100);
  EXPECT_EQ(result.total_output_tokens, 60);
  EXPECT_EQ(result.without_usage + result.short_answers + result.failed + result.not_finished, 0);
}

TEST(HttpLoad, TheCallIsWhatServersExpect) {
  ReceivedCall seen;
  std::string url;
  {
    const ScriptedServer server([&](const ReceivedCall& call, ScriptedReply& reply) {
      seen = call;
      answer_well(reply);
    });
    url = server.url();
    HttpLoadOptions options = load_on(server, 1);
    options.server.url = parse_load_url(url + "/llm/v1/");
    options.server.api_key = "key";
    options.bodies[0].json = R"({"prompt":"x"})";
    EXPECT_EQ(run_and_summarise(options).completed, 1);
  }
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.path, "/llm/v1/completions");
  EXPECT_EQ(seen.body, R"({"prompt":"x"})");
  EXPECT_EQ(seen.headers["content-type"], "application/json");
  EXPECT_EQ(seen.headers["authorization"], "Bearer key");
  EXPECT_EQ("http://" + seen.headers["host"], url);
}

TEST(HttpLoad, ConcurrencyIsNeverExceededAndConnectionsAreKept) {
  std::atomic<int> now = 0, most = 0;
  const ScriptedServer server([&](const ReceivedCall&, ScriptedReply& reply) {
    const int mine = ++now;
    for (int seen = most; seen < mine && !most.compare_exchange_weak(seen, mine);) {
    }
    reply.begin_stream();
    reply.send_chunk(text_event("a") + done_event());
    --now;
    reply.end_stream();
  });
  HttpLoadOptions options = load_on(server, 200);
  options.max_concurrency = 7;
  const HttpLoadRun run = run_http_load(options);
  EXPECT_LE(most, 7);
  EXPECT_EQ(run.most_in_flight, 7);
  EXPECT_EQ(server.connections(), 7);
  EXPECT_EQ(run.connects, 7);
  for (size_t i = 1; i < run.records.size(); ++i) {
    EXPECT_EQ(run.records[i].state, State::completed);
    EXPECT_GE(run.records[i].start_ms, run.records[i - 1].start_ms);
    EXPECT_LE(run.records[i].start_ms, run.records[i].answer.deltas.front().ms);
  }
  EXPECT_GT(run.records.back().start_ms, 0) << "what is held back counts from when it may go";
}

TEST(HttpLoad, AllAtOnceMeansAllInFlight) {
  std::atomic<int> arrived = 0;
  Gate gate;
  const ScriptedServer server([&](const ReceivedCall&, ScriptedReply& reply) {
    if (++arrived == 50) gate.open();
    gate.wait();
    answer_well(reply);
  });
  const HttpLoadOptions options = load_on(server, 50);
  const HttpLoadRun run = run_http_load(options);
  EXPECT_EQ(run.most_in_flight, 50);
  EXPECT_EQ(summarise(run, options.bodies, {}).completed, 50);
}

TEST(HttpLoad, LatenciesCountFromThePlannedArrival) {
  const ScriptedServer server([&](const ReceivedCall&, ScriptedReply& reply) { answer_well(reply); });
  HttpLoadOptions options = load_on(server, 3);
  options.arrivals_ms = {0, 40, 120};
  const HttpLoadRun run = run_http_load(options);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(run.records[i].start_ms, options.arrivals_ms[i]);
    EXPECT_GE(run.records[i].answer.deltas.front().ms, options.arrivals_ms[i]);
  }
}

TEST(HttpLoad, ASlowServersPausesAreSeen) {
  const ScriptedServer server([&](const ReceivedCall&, ScriptedReply& reply) {
    reply.begin_stream();
    for (const char* text : {"a", "b", "c"}) {
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      reply.send_chunk(text_event(text));
    }
    reply.send_chunk(done_event());
    reply.end_stream();
  });
  const HttpLoadOptions options = load_on(server, 1);
  const HttpLoadRun run = run_http_load(options);
  const std::vector<DeltaTime>& deltas = run.records[0].answer.deltas;
  ASSERT_EQ(deltas.size(), 3u);
  EXPECT_GE(deltas[0].ms, 30);
  EXPECT_GE(deltas[2].ms, 90);  // the gap alone may look shorter: the reader may be late for the first
  const HttpLoadResult result = summarise(run, options.bodies, {});
  EXPECT_EQ(result.without_usage, 1);
  EXPECT_EQ(result.total_output_tokens, 3) << "counted here";
}

TEST(HttpLoad, AnswersThatEndWithTheConnectionAreWhole) {
  const ScriptedServer server([&](const ReceivedCall&, ScriptedReply& reply) {
    reply.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + text_event("a") + done_event());
    reply.hang_up();
  });
  HttpLoadOptions options = load_on(server, 5);
  options.max_concurrency = 2;
  EXPECT_EQ(run_and_summarise(options).completed, 5);
}

}  // namespace
}  // namespace fastcache::bench
