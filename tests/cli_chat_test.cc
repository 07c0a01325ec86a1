// SPDX-License-Identifier: Apache-2.0
// The chat on a terminal: several turns, Ctrl-C, Ctrl-D.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "child.h"
#include "model/models.h"
#include "model/testing/tiny_model.h"

namespace fastcache {
namespace {

using model::test_support::TemporaryFolder;
using test_support::TerminalChild;

constexpr const char* kChatMl =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

class Chat : public testing::Test {
 protected:
  void SetUp() override {
    model::test_support::write_tiny_model(tiny(),
                                          {.context_length = 1000, .chat_template = kChatMl, .seed = 5});
  }
  std::string tiny() const { return folder_.file("tiny.gguf"); }

 private:
  TemporaryFolder folder_;
};

struct Turn {
  int prompt_tokens = 0, reused = 0;
};

// Up to the prompt after the statistics.
Turn wait_for_turn(TerminalChild& chat) {
  const std::string text = chat.wait_for("]\r\n> ");
  Turn turn;
  const size_t at = text.rfind('[');
  if (at == std::string::npos || std::sscanf(text.c_str() + at, "[%d prompt tokens (%d reused)",
                                             &turn.prompt_tokens, &turn.reused) != 2) {
    ADD_FAILURE() << "no statistics in:\n" << text;
  }
  return turn;
}

TEST_F(Chat, ReusesTheHistoryAndLeavesWithControlD) {
  TerminalChild chat({"run", "-m", tiny(), "-n", "20", "-t", "1"});
  chat.wait_for("> ");
  chat.type("one two\n");
  const Turn first = wait_for_turn(chat);
  EXPECT_EQ(first.reused, 0);
  chat.type("three\n");
  const Turn second = wait_for_turn(chat);
  EXPECT_GE(second.reused, first.prompt_tokens);
  chat.type("/reset\n");
  chat.wait_for("> ");
  chat.type("one two\n");
  const Turn again = wait_for_turn(chat);
  EXPECT_EQ(again.reused, 0);
  EXPECT_EQ(again.prompt_tokens, first.prompt_tokens);
  chat.type("\x04");
  EXPECT_EQ(chat.wait_for_exit(), 0);
}

TEST_F(Chat, ControlCStopsTheAnswerAndNotTheProgram) {
  // Greedy, this model never ends: an answer that ended by itself could not be stopped.
  model::test_support::write_tiny_model(tiny(),
                                        {.context_length = 200'000, .chat_template = kChatMl, .seed = 5});
  TerminalChild chat({"run", "-m", tiny(), "-n", "90000", "-t", "1", "--temperature", "0"});
  chat.wait_for("> ");
  chat.type("\x03");  // at the prompt
  chat.wait_for("(Ctrl-D leaves)\r\n> ");
  for (int turn = 0; turn < 2; ++turn) {
    chat.type("go\n");
    chat.wait_for("go\r\n");  // the echo
    chat.wait_for_more();
    chat.type("\x03");
    EXPECT_NE(chat.wait_for("]\r\n> ").find("cancelled"), std::string::npos);
  }
  chat.type("\x04");
  EXPECT_EQ(chat.wait_for_exit(), 0);
}

TEST_F(Chat, AQuestionThatFailsIsTakenBack) {
  TerminalChild chat({"run", "-m", tiny(), "-n", "5", "-t", "1"});
  chat.wait_for("> ");
  chat.type(std::string(1200, '!') + "\n");
  chat.wait_for("fastcache: the prompt has");
  chat.wait_for("/reset starts afresh\r\n> ");
  chat.type("a\xFF\n");
  chat.wait_for("UTF-8");
  chat.wait_for("> ");
  chat.type("one two\n");
  EXPECT_LT(wait_for_turn(chat).prompt_tokens, 200);
  chat.type("\x04");
  EXPECT_EQ(chat.wait_for_exit(), 0);
}

// The tiny model says any byte: what comes to a terminal must not steer it.
TEST_F(Chat, AnswersDoNotSteerTheTerminal) {
  TerminalChild chat({"run", "-m", tiny(), "-n", "900", "-t", "1", "--temperature", "3", "--top-k", "0",
                      "--top-p", "1", "--min-p", "0"});
  chat.wait_for("> ");
  chat.type("go\n");
  const std::string screen = chat.wait_for("]\r\n> ");
  EXPECT_TRUE(std::none_of(screen.begin(), screen.end(), [](unsigned char c) {
    return (c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7F;
  }));
  chat.type("\x04");
  EXPECT_EQ(chat.wait_for_exit(), 0);
}

TEST(ChatEmbedded, SecondTurnKnowsTheFirstAndReusesIt) {
  if (model::list_models().empty()) GTEST_SKIP() << "the embedded model is not there";
  TerminalChild chat({"run", "-n", "24"});
  chat.wait_for("> ");
  chat.type("What is the capital of France?\n");
  const Turn first = wait_for_turn(chat);
  chat.type("And of Italy?\n");
  const Turn second = wait_for_turn(chat);
  // All of the first prompt and of its answer: what is new is the question and the template around it.
  EXPECT_GE(second.reused, first.prompt_tokens);
  EXPECT_LE(second.prompt_tokens - second.reused, 24);
  chat.type("\x04");
  EXPECT_EQ(chat.wait_for_exit(), 0);
}

}  // namespace
}  // namespace fastcache
