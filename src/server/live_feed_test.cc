// SPDX-License-Identifier: Apache-2.0
#include "server/live_feed.h"

#include <gtest/gtest.h>

#include <list>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "server/testing/recorded_reply.h"

namespace fastcache::server {
namespace {

using nlohmann::json;
using test_support::begin_answer;
using test_support::RecordedReply;

constexpr LiveFeedOptions kByHand{.tick = std::chrono::hours{1}, .keep_alive = std::chrono::hours{1}};

class LiveFeedTest : public testing::Test {
 protected:
  std::shared_ptr<LiveFeed> feed(LiveFeedOptions options = kByHand) {
    return std::make_shared<LiveFeed>(
        context_.get_executor(),
        [this] {
          ++reads_;
          return std::to_string(state_);
        },
        [] { return 1234; }, options);
  }
  void watch(const std::shared_ptr<LiveFeed>& feed, RecordedReply& reply) {
    begin_answer(context_, reply, LiveFeed::watch(feed, reply));
    settle();
  }
  void settle() {
    context_.restart();
    context_.poll();
  }
  static std::string event(int state) {
    return "data: {\"time_ms\":1234,\"state\":" + std::to_string(state) + "}\n\n";
  }

  boost::asio::io_context context_;
  int state_ = 1;
  int reads_ = 0;
};

TEST_F(LiveFeedTest, BeginsWithTheStateAndSendsOnlyWhatChanged) {
  const auto feed = this->feed();
  RecordedReply reply{context_};
  watch(feed, reply);
  EXPECT_EQ(reply.content_type, "text/event-stream");
  EXPECT_EQ(reply.header("Cache-Control"), "no-store");
  EXPECT_EQ(reply.written, std::vector{event(1)});
  for (const int state : {1, 1, 2, 2, 3}) {
    state_ = state;
    feed->tick();
    settle();
  }
  EXPECT_EQ(reply.written, (std::vector{event(1), event(2), event(3)}));
  reply.leave();
  settle();
}

TEST_F(LiveFeedTest, AllWatchersShareOneReadPerTick) {
  const auto feed = this->feed();
  std::list<RecordedReply> replies;
  for (int i = 0; i < 40; ++i) watch(feed, replies.emplace_back(context_));
  EXPECT_EQ(feed->watchers(), 40);
  const int before = reads_;
  state_ = 2;
  feed->tick();
  settle();
  EXPECT_EQ(reads_, before + 1);
  for (RecordedReply& reply : replies) {
    EXPECT_EQ(reply.written, (std::vector{event(1), event(2)}));
    reply.leave();
  }
  settle();
  EXPECT_EQ(feed->watchers(), 0);
}

TEST_F(LiveFeedTest, AWatcherThatLeavesIsRemovedAndThenTheTimerStops) {
  const auto feed = this->feed({.tick = std::chrono::milliseconds{1}});
  RecordedReply first{context_}, second{context_};
  watch(feed, first);
  watch(feed, second);
  first.leave();
  settle();
  EXPECT_TRUE(first.is_answered);
  EXPECT_FALSE(first.failure);
  EXPECT_EQ(feed->watchers(), 1);
  second.leave();
  context_.restart();
  context_.run();  // returns: nothing waits any more
  EXPECT_EQ(feed->watchers(), 0);
  const int before = reads_;
  context_.restart();
  context_.run();
  EXPECT_EQ(reads_, before);
}

TEST_F(LiveFeedTest, TicksByItself) {
  const auto feed = this->feed({.tick = std::chrono::milliseconds{1}});
  RecordedReply reply{context_};
  watch(feed, reply);
  state_ = 2;
  context_.restart();
  while (reply.written.size() < 2) context_.run_one();
  EXPECT_EQ(reply.written.back(), event(2));
  reply.leave();
  settle();
}

TEST_F(LiveFeedTest, OneThatCameLaterBeginsWithTheStateOfThen) {
  const auto feed = this->feed();
  RecordedReply first{context_}, second{context_};
  watch(feed, first);
  first.leave();
  settle();
  state_ = 7;
  watch(feed, second);
  EXPECT_EQ(second.written, std::vector{event(7)});
  second.leave();
  settle();
}

TEST_F(LiveFeedTest, RefusesMoreThanTheCapUntilOneLeaves) {
  LiveFeedOptions options = kByHand;
  options.max_watchers = 2;
  const auto feed = this->feed(options);
  RecordedReply first{context_}, second{context_}, third{context_}, fourth{context_};
  watch(feed, first);
  watch(feed, second);
  watch(feed, third);
  ASSERT_TRUE(third.failure);
  EXPECT_FALSE(third.has_begun());
  try {
    std::rethrow_exception(third.failure);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::overloaded);
    EXPECT_EQ(http_status(error.code()), 429);
  }
  second.leave();
  settle();
  watch(feed, fourth);
  EXPECT_EQ(fourth.written.size(), 1u);
  EXPECT_EQ(feed->watchers(), 2);
  first.leave();
  fourth.leave();
  settle();
}

TEST_F(LiveFeedTest, ASlowReaderSkipsToTheNewestAndHoldsNobodyUp) {
  const auto feed = this->feed();
  RecordedReply slow{context_}, quick{context_};
  slow.reads_nothing = true;
  watch(feed, slow);
  watch(feed, quick);
  for (state_ = 2; state_ <= 9; ++state_) {
    feed->tick();
    settle();
  }
  EXPECT_EQ(quick.written.size(), 9u);
  EXPECT_TRUE(slow.written.empty());
  slow.read_on();
  settle();
  EXPECT_EQ(slow.written, (std::vector{event(1), event(9)}));
  slow.leave();
  quick.leave();
  settle();
}

TEST_F(LiveFeedTest, SilenceIsBrokenByAComment) {
  const auto feed = this->feed({.tick = std::chrono::hours{1}, .keep_alive = std::chrono::milliseconds{1}});
  RecordedReply reply{context_};
  watch(feed, reply);
  context_.restart();
  while (reply.written.size() < 3) context_.run_one();
  EXPECT_EQ(reply.written[0], event(1));
  EXPECT_TRUE(reply.written[1].starts_with(":") && reply.written[1].ends_with("\n\n")) << reply.written[1];
  reply.leave();
  settle();
}

TEST_F(LiveFeedTest, CloseEndsAllAndRefusesLaterOnes) {
  const auto feed = this->feed();
  RecordedReply first{context_}, later{context_};
  watch(feed, first);
  feed->close();
  settle();
  EXPECT_TRUE(first.has_ended);
  EXPECT_TRUE(first.is_answered);
  watch(feed, later);
  EXPECT_TRUE(later.failure);
  EXPECT_EQ(feed->watchers(), 0);
}

TEST_F(LiveFeedTest, OneThatIsGoneBeforeItBeginsLeavesNothingBehind) {
  const auto feed = this->feed();
  RecordedReply reply{context_};
  reply.is_gone = true;
  watch(feed, reply);
  EXPECT_TRUE(reply.is_answered);
  EXPECT_EQ(feed->watchers(), 0);
}

// Whoever comes, leaves, dawdles and whatever changes: everyone who reads has the newest state, and has had
// no state twice in a row.
TEST_F(LiveFeedTest, RandomComingsAndGoings) {
  std::mt19937_64 random{test_seed()};
  const auto feed = this->feed();
  std::list<RecordedReply> replies;
  for (int i = 0; i < 3000; ++i) {
    const auto pick = [&] {
      return std::next(replies.begin(), static_cast<long>(random() % replies.size()));
    };
    const uint64_t what = random() % 8;
    if (what == 0 && replies.size() < 20) watch(feed, replies.emplace_back(context_));
    if (what == 1 && !replies.empty()) pick()->reads_nothing = true;
    if (what == 2 && !replies.empty()) pick()->read_on();
    if (what == 3 && !replies.empty()) {
      const auto leaver = pick();
      leaver->leave();
      settle();
      ASSERT_TRUE(leaver->is_answered) << "seed " << test_seed();
      replies.erase(leaver);
    }
    if (what >= 4) state_ += static_cast<int>(random() % 2);
    if (what >= 5) feed->tick();
    settle();
    ASSERT_EQ(feed->watchers(), static_cast<int>(replies.size())) << "seed " << test_seed();
  }
  feed->tick();
  for (RecordedReply& reply : replies) reply.read_on();
  settle();
  for (RecordedReply& reply : replies) {
    EXPECT_EQ(reply.written.back(), event(state_)) << "seed " << test_seed();
    EXPECT_EQ(std::adjacent_find(reply.written.begin(), reply.written.end()), reply.written.end());
    reply.leave();
  }
  settle();
}

TEST_F(LiveFeedTest, RoutesWantAKeyAndAnswerJson) {
  const auto feed = this->feed();
  state_ = 5;
  for (const Route& route : live_routes(feed)) {
    EXPECT_TRUE(route.needs_key) << route.path;
    EXPECT_EQ(route.method, "GET");
    if (route.path == "/fastcache/events") continue;
    RecordedReply reply{context_};
    HttpRequest request;
    request.path = route.path;
    begin_answer(context_, reply, route.handler(request, reply));
    settle();
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.content_type, "application/json");
    const json got = nlohmann::json::parse(reply.body);
    const bool is_state = route.path == "/fastcache/state";
    EXPECT_EQ(is_state ? got.at("state") : got.at("presses").at(0).at("name"),
              is_state ? json(5) : json("none"));
  }
}

}  // namespace
}  // namespace fastcache::server
