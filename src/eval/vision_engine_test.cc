// SPDX-License-Identifier: Apache-2.0
// Questions about pictures through the public engine, with a tiny model that sees.
#include "eval/vision_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/testing/vision_files.h"
#include "eval/vision_figures.h"
#include "eval/vision_loaders.h"
#include "eval/vision_message.h"

namespace fastcache::eval {
namespace {

using ::testing::HasSubstr;

class VisionEngine : public ::testing::Test {
 protected:
  VisionEngine() : questions_(load_question_lines(files_.write_grid("grid", 4, 3))) {
    options_ = {.model = files_.model(),
                .pool_bytes = size_t{16} << 20,
                .kv_type = "f32",
                .threads = 1,
                .mmproj = files_.mmproj()};
  }

  // One request after the other, without the code under test.
  std::string expected(const VisionQuestion& question, int max_tokens) const {
    Engine engine(options_);
    Message message{.role = "user"};
    message.parts = {
        {.text = "Look: "}, {.picture = load_picture(question.pictures[0])}, {.text = question.question}};
    Request request{.messages = {message}, .max_tokens = max_tokens};
    request.sampling.temperature = 0;
    const auto answer = engine.submit(request);
    std::string text;
    while (auto delta = answer->next()) text += delta->text;
    return text;
  }
  std::vector<VisionAnswer> ask(const AskOptions& ask) const {
    Engine engine(options_);
    return ask_engine(engine, questions_, ask);
  }

  test_support::VisionFiles files_;
  std::vector<VisionQuestion> questions_;
  EngineOptions options_;
};

TEST_F(VisionEngine, AnswersAreThoseOfSingleRequests) {
  for (size_t i = 0; i < questions_.size(); i += 5) questions_[i].answer = expected(questions_[i], 8);
  for (const int concurrency : {1, 5, 64}) {
    const auto answers = ask({.answer_tokens = 8, .concurrency = concurrency});
    ASSERT_EQ(answers.size(), questions_.size());
    for (size_t i = 0; i < answers.size(); ++i) {
      EXPECT_TRUE(answers[i].asked && answers[i].error.empty()) << answers[i].error;
      EXPECT_FALSE(answers[i].text.empty());
      EXPECT_EQ(answers[i].score, i % 5 == 0 ? 1.0 : 0.0) << i << ": " << answers[i].text;
    }
  }
}

TEST_F(VisionEngine, BlindAsksWithoutPictures) {
  options_.mmproj.clear();  // so there is nobody who could look
  const auto blind = ask({.blind = true, .answer_tokens = 8});
  EXPECT_THAT(blind[0].error, "");
  // The same question is the same prompt for every picture.
  EXPECT_EQ(blind[0].text, blind[3].text);
  EXPECT_THAT(ask({.answer_tokens = 8})[0].error, HasSubstr("no vision"));
}

TEST_F(VisionEngine, WhatFailsSaysWhyAndCountsNowhere) {
  files_.write("grid/pictures/1.png", "no picture at all");  // three questions
  VisionResult result{.questions = questions_};
  result.answers = ask({.answer_tokens = 4});
  for (size_t i = 0; i < result.answers.size(); ++i)
    EXPECT_EQ(result.answers[i].error.empty(), i / 3 != 1) << i;
  const VisionFigures figures = vision_figures(result);
  EXPECT_EQ(figures.n_failed, 3);
  EXPECT_EQ(figures.all.n, 9);
  EXPECT_THAT(figures.first_error, HasSubstr("questions.jsonl, line 4"));
  EXPECT_THAT(figures.first_error, HasSubstr("pictures/1.png"));
  questions_[0].question = std::string(5000, 'x');
  EXPECT_THAT(ask({.answer_tokens = 4})[0].error, HasSubstr("context"));
}

TEST_F(VisionEngine, StoppedItKeepsWhatWasAnswered) {
  int calls = 0;
  const auto none = ask({.answer_tokens = 4, .progress = [&](int done, int of, const std::string&) {
                           EXPECT_EQ(done, 0);
                           EXPECT_EQ(of, 12);
                           ++calls;
                           return false;
                         }});
  EXPECT_EQ(calls, 1);
  for (const VisionAnswer& answer : none) EXPECT_FALSE(answer.asked);

  VisionResult result{.questions = questions_};
  result.answers =
      ask({.answer_tokens = 4, .concurrency = 2, .progress = [](int done, int, const std::string&) {
             return done < 4;
           }});
  const VisionFigures figures = vision_figures(result);
  EXPECT_GE(figures.all.n, 4);
  EXPECT_LE(figures.all.n, 5);
  EXPECT_EQ(figures.all.n + figures.n_left, 12);
}

}  // namespace
}  // namespace fastcache::eval
