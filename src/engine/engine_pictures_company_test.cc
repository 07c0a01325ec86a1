// SPDX-License-Identifier: Apache-2.0
// Pictures in company: what is shared and cached, who is cancelled, and whose turn it is.
#include "engine/testing/pictures_fixture.h"

#include <algorithm>

namespace fastcache {
namespace {

using engine::test_support::kImageTokens;
using engine::test_support::picture;
using engine::test_support::read;
using engine::test_support::request;
using engine::test_support::Said;
using engine::test_support::Shared;
using engine::test_support::Whole;

using EnginePicturesCompany = engine::test_support::PicturesTest;

TEST_F(EnginePicturesCompany, SmallStepsAndCompanyChangeNothing) {
  const std::vector<Request> requests = {request({picture(1)}), request({picture(2), picture(3)}),
                                         request({picture(1), picture(2)}, 5), request({}, 33)};
  std::vector<Said> alone;
  for (const Request& r : requests) {
    Engine engine(options_);
    alone.push_back(read(*engine.submit(r)).said);
  }
  options_.step_tokens = 9;
  Engine engine(options_);
  std::vector<std::shared_ptr<Answer>> answers;
  for (const Request& r : requests) answers.push_back(engine.submit(r));
  for (size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(read(*answers[i]).said, alone[i]) << i;
}

TEST_F(EnginePicturesCompany, EqualPicturesAreEncodedOnceAndShareTheirRows) {
  Engine engine(options_);
  const Whole first = read(*engine.submit(request({picture(1), picture(2)})));
  EXPECT_EQ(first.summary.cached_tokens, 0);
  EXPECT_EQ(engine.stats().pictures_encoded, 2);
  const Whole again = read(*engine.submit(request({picture(1), picture(2)})));
  EXPECT_EQ(again.said, first.said);
  EXPECT_EQ(again.summary.encode_ms, 0);
  EXPECT_GT(again.summary.cached_tokens, 20 + kImageTokens);
  EXPECT_EQ(engine.stats().pictures_encoded, 2);
  EXPECT_EQ(engine.stats().mm_cache_queries, 4);
  EXPECT_EQ(engine.stats().mm_cache_hits, 2);
  EXPECT_EQ(engine.stats().mm_cache_bytes, size_t{2} * kImageTokens * 64 * sizeof(float));
}

TEST_F(EnginePicturesCompany, DifferentPicturesOfOneSizeShareNothingBehindThem) {
  Engine engine(options_);
  const Whole first = read(*engine.submit(request({picture(1)})));
  const Whole other = read(*engine.submit(request({picture(2)})));
  EXPECT_LE(other.summary.cached_tokens, 20);
  EXPECT_EQ(other.said, expected(request({picture(2)})));
  EXPECT_NE(first.said, other.said);
}

TEST_F(EnginePicturesCompany, TheNextTurnGoesOnFromTheRows) {
  Engine engine(options_);
  Request asked = request({picture(1)});
  const Whole first = read(*engine.submit(asked));
  asked.tokens.insert(asked.tokens.end(), first.said.tokens.begin(), first.said.tokens.end());
  asked.tokens.push_back(kPictureToken);
  asked.pictures.push_back(picture(2));
  for (int i = 0; i < 9; ++i) asked.tokens.push_back(30 + i);
  const Whole second = read(*engine.submit(asked));
  EXPECT_GE(second.summary.cached_tokens, (40 + kImageTokens + 12) / 16 * 16 - 16);
  EXPECT_EQ(second.said, expected(asked));
}

TEST_F(EnginePicturesCompany, ASmallImageCacheForgetsTheOldest) {
  options_.image_cache_bytes = size_t{2} * kImageTokens * 64 * sizeof(float);
  options_.prefix_cache = false;
  Engine engine(options_);
  const auto ask = [&](int salt) { return read(*engine.submit(request({picture(salt)}))).said; };
  const auto first = ask(1);
  ask(2);
  ask(1);  // 2 is the oldest now
  ask(3);
  EXPECT_EQ(engine.stats().pictures_encoded, 3);
  EXPECT_EQ(ask(1), first);
  EXPECT_EQ(engine.stats().pictures_encoded, 3);
  ask(2);
  EXPECT_EQ(engine.stats().pictures_encoded, 4);
  EXPECT_LE(engine.stats().mm_cache_bytes, options_.image_cache_bytes);
}

TEST_F(EnginePicturesCompany, CancelledWhileEncodingLeavesTheOthersAlone) {
  Engine engine(options_);
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 8; ++i) answers.push_back(engine.submit(request({picture(i), picture(i + 1)})));
  for (size_t i = 0; i < answers.size(); i += 2) answers[i]->cancel();
  for (int i = 1; i < 8; i += 2)
    EXPECT_EQ(read(*answers[static_cast<size_t>(i)]).said, expected(request({picture(i), picture(i + 1)})));
  for (size_t i = 0; i < answers.size(); i += 2) read(*answers[i]);  // ends
  EXPECT_EQ(engine.stats().encoding, 0);
}

TEST_F(EnginePicturesCompany, ADeadlineEndsARequestThatEncodes) {
  Engine engine(options_);
  std::vector<Shared> pictures;
  for (int i = 0; i < 100; ++i) pictures.push_back(picture(i));
  Request late = request(pictures, 1);
  late.deadline_ms = 1e-3;
  const auto answer = engine.submit(late);
  Finish finish = Finish::failed;
  while (auto delta = answer->next())
    if (delta->finished) finish = delta->finish;
  EXPECT_EQ(finish, Finish::deadline);
}

TEST_F(EnginePicturesCompany, ManyRequestsAtOnceAllGetTheirTurn) {
  Engine engine(options_);
  std::vector<std::shared_ptr<Answer>> answers;
  std::vector<Request> requests;
  for (int i = 0; i < 16; ++i) {
    std::vector<Shared> pictures;
    for (int p = 0; p < 8; ++p) pictures.push_back(picture((i * 8 + p) % 40));
    requests.push_back(request(pictures, 2, 6));
    answers.push_back(engine.submit(requests.back()));
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    const Whole whole = read(*answers[i]);
    EXPECT_EQ(whole.said.tokens.size(), 6u);
    if (i % 5 == 0) {
      EXPECT_EQ(whole.said, expected(requests[i])) << i;
    }
  }
  EXPECT_LE(engine.stats().pictures_encoded, 40);
}

}  // namespace
}  // namespace fastcache
