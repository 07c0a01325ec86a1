// SPDX-License-Identifier: Apache-2.0
#include "eval/retrieval.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "base/error.h"
#include "base/test_seed.h"
#include "engine/testing/loop_model.h"

namespace fastcache::eval {
namespace {

using engine::test_support::LoopModel;

constexpr std::array kKinds{TaskKind::needle, TaskKind::multi_key, TaskKind::multi_value};

class Retrieval : public testing::Test {
 protected:
  static void SetUpTestSuite() { loop_ = std::make_unique<LoopModel>(); }
  static void TearDownTestSuite() { loop_.reset(); }
  static const model::Vocab& vocab() { return loop_->model.vocab; }
  static std::vector<TokenText> filler() {
    std::string text;
    for (int i = 0; i < 60; ++i) text += "nothing to see in line after line of this text\n";
    return {{"a", vocab().tokenize(text, {})}, {"b", vocab().tokenize("short\n", {})}};
  }
  // Without the blank that this vocabulary puts in front of every text.
  static std::string text_of(const Tokens& tokens) {
    const std::string text = vocab().detokenize(tokens);
    return text.starts_with(' ') ? text.substr(1) : text;
  }
  static int count(const std::string& text, const std::string& part) {
    int n = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
    return n;
  }

 private:
  static inline std::unique_ptr<LoopModel> loop_;
};

TEST_F(Retrieval, TheRightValuesStandInTheText) {
  for (const TaskKind kind : kKinds) {
    SCOPED_TRACE(task_name(kind));
    const Task task = make_task(kind, 1024, filler(), vocab(), test_seed());
    const std::string text = text_of(task.context);
    const size_t n_values = kind == TaskKind::multi_value ? 2 : 1;
    ASSERT_EQ(task.values.size(), n_values);
    ASSERT_EQ(task.right.size(), n_values);
    ASSERT_EQ(task.wrong.size(), static_cast<size_t>(kWrongValues));
    const std::string statement = text_of(task.lead);
    EXPECT_EQ(count(text, statement), static_cast<int>(n_values)) << text;
    for (size_t i = 0; i < n_values; ++i) {
      EXPECT_EQ(count(text, task.values[i]), 1);
      Tokens answer = task.lead;
      answer.insert(answer.end(), task.right[i].begin(), task.right[i].end());
      EXPECT_EQ(count(text, text_of(answer) + "."), 1) << text_of(answer);
      EXPECT_EQ(share_found({task.values[i]}, text_of(task.right[i])), 1.0);
    }
    int wrong_in_text = 0;
    for (const Tokens& wrong : task.wrong) {
      EXPECT_EQ(share_found(task.values, text_of(wrong)), 0.0);
      wrong_in_text += count(text, text_of(wrong) + ".") > 0 ? 1 : 0;
    }
    EXPECT_EQ(wrong_in_text, kind == TaskKind::multi_key ? 3 : 0);
  }
}

TEST_F(Retrieval, TakesTheWholeLengthAndNoMore) {
  for (const TaskKind kind : kKinds)
    for (const int length : {700, 1024, 3000}) {
      const Task task = make_task(kind, length, filler(), vocab(), test_seed());
      const size_t all = task.context.size() + task.question.size() + task.lead.size() +
                         static_cast<size_t>(task.answer_tokens);
      EXPECT_EQ(all, static_cast<size_t>(length)) << task_name(kind);
    }
}

TEST_F(Retrieval, SameSeedSameTask) {
  for (const TaskKind kind : kKinds) {
    const Task first = make_task(kind, 1024, filler(), vocab(), 5);
    const Task again = make_task(kind, 1024, filler(), vocab(), 5);
    const Task other = make_task(kind, 1024, filler(), vocab(), 6);
    EXPECT_EQ(first.context, again.context);
    EXPECT_EQ(first.values, again.values);
    EXPECT_NE(first.context, other.context);
  }
}

TEST_F(Retrieval, TooShortForItsStatements) {
  EXPECT_THROW(make_task(TaskKind::multi_key, 150, filler(), vocab(), 1), Error);
}

TEST(ShareFound, WholeNumbersAlone) {
  EXPECT_EQ(share_found({"12345"}, "it is 12345."), 1.0);
  EXPECT_EQ(share_found({"12345"}, "12345"), 1.0);
  EXPECT_EQ(share_found({"12345"}, "it is 123456."), 0.0);
  EXPECT_EQ(share_found({"12345"}, "it is 012345."), 0.0);
  EXPECT_EQ(share_found({"12345"}, "912345 and 12345"), 1.0);
  EXPECT_EQ(share_found({"12345", "67890"}, "67890"), 0.5);
  EXPECT_EQ(share_found({"12345"}, ""), 0.0);
}

}  // namespace
}  // namespace fastcache::eval
