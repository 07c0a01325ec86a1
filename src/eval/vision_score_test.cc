// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_score.h"

#include <gtest/gtest.h>

namespace fastcache::eval {
namespace {

double score(Match match, const std::string& accepted, const std::string& said,
             const std::vector<std::string>& choices = {}) {
  return score_answer({.answer = accepted, .choices = choices, .match = match}, said);
}

TEST(VisionScore, ExactButForTheSpacesAround) {
  EXPECT_EQ(score(Match::exact, "red circle", " red circle\n"), 1);
  EXPECT_EQ(score(Match::exact, " red circle", "red circle"), 1);
  for (const char* wrong : {"Red circle", "red circle.", "red  circle", "red", "red circle or not", ""})
    EXPECT_EQ(score(Match::exact, "red circle", wrong), 0) << wrong;
}

TEST(VisionScore, RelaxedIgnoresCaseAndAFullStop) {
  for (const char* right : {"yes", "Yes", "YES.", " yes. \n"})
    EXPECT_EQ(score(Match::relaxed, "yes", right), 1) << right;
  EXPECT_EQ(score(Match::relaxed, "7", "7"), 1);
  for (const char* wrong : {"yes, it is", "ye", "y.es", "yes..", "."})
    EXPECT_EQ(score(Match::relaxed, "yes", wrong), 0) << wrong;
}

TEST(VisionScore, PartsCountAtTheirPlace) {
  const std::string cells = "row 1: red 1, empty\nrow 2: blue circle, green 2";
  EXPECT_EQ(score(Match::parts, cells, cells + "\n"), 1);
  EXPECT_EQ(score(Match::parts, cells, "row 1: red 1, empty\nrow 2: blue circle, green 3"), 0.75);
  EXPECT_EQ(score(Match::parts, cells, "row 1: red 1, empty"), 0.5);
  EXPECT_EQ(score(Match::parts, cells, "empty, row 1: red 1"), 0);
  EXPECT_EQ(score(Match::parts, cells, ""), 0);
  EXPECT_EQ(score(Match::parts, "a, b", "a, b, c, d"), 0.5);  // a longer answer is no better one
}

TEST(VisionScore, WhatIsSaidLastCounts) {
  const std::string count = "picture 1: red 4 #1; picture 2: blue 3; picture 3: red 5 #2; all: 2",
                    changed = "picture 1: red 4; picture 2: red 5; red 4 became red 5";
  for (const char* right :
       {"picture 1: red 4 #1; picture 2: red 5 #2; all: 2\n", "1 no, 2 yes, 3 yes: 2", "2", " : 2"})
    EXPECT_EQ(score(Match::last, count, right), 1) << right;
  for (const char* wrong : {"picture 1: red 4 #1; picture 2: red 5 #2; all: 3", "all 2; picture 2: red 5 #2",
                            "1 yes: 2, 3", "2:", ""})
    EXPECT_EQ(score(Match::last, count, wrong), 0) << wrong;
  EXPECT_EQ(score(Match::last, changed, "picture 1: blue 4; red 4 became red 5"), 1);
  EXPECT_EQ(score(Match::last, changed, "picture 1: red 4; picture 2: red 5"), 0);
}

TEST(VisionScore, ChoicesByLetterOrText) {
  const std::vector<std::string> choices{"a cat", "a dog", "Both", "c"};
  for (const char* right : {"B", "b", "(B)", "B.", "B. a dog", "B: a cat?", "B)", "a dog", "A dog."})
    EXPECT_EQ(score(Match::choice, "a dog", right, choices), 1) << right;
  for (const char* wrong :
       {"A", "", "Both", "Boat", "a dog or a cat", "C", "E", "(", "B and C", "Z.", "B, C or D", "B/C", "B-C"})
    EXPECT_EQ(score(Match::choice, "a dog", wrong, choices), 0) << wrong;
  // What is written out counts before the letter.
  EXPECT_EQ(score(Match::choice, "c", "C", choices), 1);
  EXPECT_EQ(score(Match::choice, "Both", "C", choices), 0);
}

TEST(VisionScore, ManyChoicesHaveNoLetters) {
  std::vector<std::string> choices;
  for (int i = 0; i < 40; ++i) choices.push_back("number " + std::to_string(i));
  EXPECT_FALSE(has_letters(choices));
  EXPECT_EQ(score(Match::choice, "number 1", "B", choices), 0);
  EXPECT_EQ(score(Match::choice, "number 39", "Number 39", choices), 1);
}

}  // namespace
}  // namespace fastcache::eval
