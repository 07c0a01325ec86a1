// SPDX-License-Identifier: Apache-2.0
#include "eval/answer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/testing/loop_model.h"

namespace fastcache::eval {
namespace {

using engine::test_support::LoopModel;

class Answers : public testing::Test {
 protected:
  LoopModel loop{1024};
  Workbench bench{loop.model, loop.compute, {.capacity_tokens = 5000, .max_sequences = 20}};
  Task task{.context = LoopModel::prompt(300, 1),
            .question = LoopModel::prompt(10, 2),
            .lead = LoopModel::prompt(5, 3),
            .values = {"1"},
            .right = {},
            .wrong = {},
            .answer_tokens = 6};

  // Token by token on a sequence of its own.
  std::vector<float> feed(kv::Sequence& sequence, const Tokens& tokens) {
    std::vector<float> last;
    for (const model::Token& token : tokens) {
      const Workbench::Feed one{.sequence = &sequence, .tokens = std::span(&token, 1)};
      const std::span<const float> logits = bench.feed(std::span(&one, 1), Workbench::Logits::last);
      last.assign(logits.begin(), logits.end());
    }
    return last;
  }

  // The tokens that the model itself would go on with, one by one.
  Tokens greedy(kv::Sequence sequence, int n) {
    feed(sequence, task.question);
    std::vector<float> logits = feed(sequence, task.lead);
    Tokens tokens;
    for (int i = 0; i < n; ++i) {
      tokens.push_back(softmax_top(logits));
      logits = feed(sequence, {tokens.back()});
    }
    return tokens;
  }
  static model::Token softmax_top(const std::vector<float>& logits) {
    return static_cast<model::Token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
};

// What the model would say is the right answer on its cache, and then no other is; on another cache it may
// be.
TEST_F(Answers, LikelihoodFindsWhatTheModelWouldSay) {
  const Context context = bench.read(task.context, {});
  const Tokens said = greedy(context.sequence.fork(), 1);
  task.right = {said};
  for (int i = 0; i < kWrongValues; ++i) task.wrong.push_back({(said[0] + 1 + i) % 320});
  kv::Sequence first = context.sequence.fork();
  kv::Sequence* const one = &first;
  EXPECT_EQ(answer_task(bench, task, false, std::span(&one, 1))[0].likely, 1.0);

  std::swap(task.right[0], task.wrong[3]);
  kv::Sequence second = context.sequence.fork();
  kv::Sequence* const two = &second;
  EXPECT_EQ(answer_task(bench, task, false, std::span(&two, 1))[0].likely, 0.0);
}

TEST_F(Answers, SideBySideIsAsOneByOne) {
  const Context context = bench.read(task.context, {});
  for (int i = 0; i < 3; ++i) task.right.push_back(LoopModel::prompt(4, 20 + i));
  for (int i = 0; i < kWrongValues; ++i) task.wrong.push_back(LoopModel::prompt(4, 30 + i));
  // Digits of what it says on the window: then exact can be above 0.
  task.values = {"7", "8", "9"};
  const auto forks = [&] {
    std::vector<kv::Sequence> made;
    made.push_back(context.sequence.fork());
    made.push_back(bench.window(context, 4, 20));
    made.push_back(bench.window(context, 20, 60));
    return made;
  };
  std::vector<kv::Sequence> together = forks(), alone = forks();
  std::vector<kv::Sequence*> all;
  for (kv::Sequence& sequence : together) all.push_back(&sequence);
  const std::vector<Answer> answers = answer_task(bench, task, false, all);
  for (size_t i = 0; i < alone.size(); ++i) {
    kv::Sequence* const one = &alone[i];
    const Answer answer = answer_task(bench, task, false, std::span(&one, 1))[0];
    EXPECT_EQ(answers[i].exact, answer.exact);
    EXPECT_EQ(answers[i].likely, answer.likely);
    EXPECT_EQ(answers[i].n_tokens, 6 + 3 * 4);
    EXPECT_EQ(answers[i].n_on_compressed, i == 0 ? 0 : 6 + 3 * 4);
    // The generated tokens stand behind the prompt, the last one is not fed.
    EXPECT_EQ(alone[i].token_count(), 300 + 10 + 5 + 5);
  }
}

TEST_F(Answers, ExactReadsTheGreedyAnswer) {
  const Context context = bench.read(task.context, {});
  const Tokens said = greedy(context.sequence.fork(), task.answer_tokens);
  const std::string text = loop.model.vocab.detokenize(said);
  task.right = {{5}};
  task.wrong.assign(kWrongValues, {6});
  task.values = {text};
  kv::Sequence first = context.sequence.fork();
  kv::Sequence* const one = &first;
  EXPECT_EQ(answer_task(bench, task, false, std::span(&one, 1))[0].exact, share_found({text}, text)) << text;
  task.values = {text + "x"};
  kv::Sequence second = context.sequence.fork();
  kv::Sequence* const two = &second;
  EXPECT_EQ(answer_task(bench, task, false, std::span(&two, 1))[0].exact, 0.0);
}

// query_aware: the question is in the cache already, only the lead is fed.
TEST_F(Answers, AKnownQuestionIsNotAskedAgain) {
  const Context context = bench.read(task.context, {});
  task.right = {{5}};
  task.wrong.assign(kWrongValues, {6});
  kv::Sequence sequence = context.sequence.fork();
  kv::Sequence* const one = &sequence;
  answer_task(bench, task, true, std::span(&one, 1));
  EXPECT_EQ(sequence.token_count(), 300 + 5 + 5);
}

}  // namespace
}  // namespace fastcache::eval
