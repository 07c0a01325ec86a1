// SPDX-License-Identifier: Apache-2.0
#include "model/child_process.h"

#include <ggml.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>

namespace fastcache::model {
namespace {

using Kind = ChildOutcome::Kind;
using std::chrono::milliseconds;

TEST(ChildProcess, TellsHowTheWorkEnded) {
  const milliseconds limit(20000);
  EXPECT_EQ(run_in_child([] { return ""; }, limit).kind, Kind::done);
  const ChildOutcome failed = run_in_child([] { return "no"; }, limit);
  EXPECT_EQ(failed.kind, Kind::failed);
  EXPECT_EQ(failed.message, "no");
  const ChildOutcome thrown = run_in_child([]() -> std::string { throw std::runtime_error("why"); }, limit);
  EXPECT_EQ(thrown.kind, Kind::failed);
  EXPECT_EQ(thrown.message, "why");
  const ChildOutcome killed = run_in_child(
      []() -> std::string {
        raise(SIGKILL);
        return "";
      },
      limit);
  EXPECT_EQ(killed.kind, Kind::crashed);
  EXPECT_EQ(killed.message, "signal 9");
  EXPECT_EQ(run_in_child([]() -> std::string { _exit(0); }, limit).kind, Kind::crashed);
  const ChildOutcome aborted = run_in_child([]() -> std::string { GGML_ABORT("broken"); }, limit);
  EXPECT_EQ(aborted.kind, Kind::crashed);
  EXPECT_THAT(aborted.message, ::testing::HasSubstr("broken"));
}

TEST(ChildProcess, EndsWorkThatTakesTooLong) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(run_in_child(
                []() -> std::string {
                  for (;;) pause();
                },
                milliseconds(200))
                .kind,
            Kind::timed_out);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST(ChildProcess, LongMessagesAreCut) {
  EXPECT_EQ(run_in_child([] { return std::string(100000, 'x'); }, milliseconds(20000)).message.size(), 1023u);
}

}  // namespace
}  // namespace fastcache::model
