// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "base/test_seed.h"
#include "eval/testing/vision_files.h"

namespace fastcache::eval {
namespace {

using ::testing::HasSubstr;

std::vector<VisionQuestion> numbered(int n) {
  std::vector<VisionQuestion> questions;
  for (int i = 0; i < n; ++i)
    questions.push_back({.source = std::to_string(i), .category = i % 3 == 0 ? "third" : "other"});
  return questions;
}

std::vector<int> numbers(const std::vector<VisionQuestion>& questions) {
  std::vector<int> found;
  for (const VisionQuestion& question : questions) found.push_back(std::stoi(question.source));
  return found;
}

template <typename Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(VisionDataset, ASampleKeepsOrderAndDependsOnTheSeedAlone) {
  const uint64_t seed = test_seed();
  const auto chosen = numbers(choose_questions(numbered(200), {.n = 40, .seed = seed}));
  EXPECT_EQ(chosen.size(), 40u);
  EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
  EXPECT_EQ(std::set<int>(chosen.begin(), chosen.end()).size(), 40u);
  EXPECT_EQ(numbers(choose_questions(numbered(200), {.n = 40, .seed = seed})), chosen);
  EXPECT_NE(numbers(choose_questions(numbered(200), {.n = 40, .seed = seed + 1})), chosen);
  EXPECT_EQ(choose_questions(numbered(200), {.n = 0}).size(), 200u);
  EXPECT_EQ(choose_questions(numbered(200), {.n = 900}).size(), 200u);
}

TEST(VisionDataset, EveryQuestionIsDrawnEquallyOften) {
  std::vector<int> drawn(20);
  for (uint64_t i = 0; i < 2000; ++i)
    for (const int number : numbers(choose_questions(numbered(20), {.n = 5, .seed = test_seed() + i})))
      ++drawn[static_cast<size_t>(number)];
  for (const int n : drawn) EXPECT_NEAR(n, 500, 120);  // six standard deviations
}

TEST(VisionDataset, Categories) {
  for (const VisionQuestion& question : choose_questions(numbered(30), {.categories = {"third"}, .n = 5}))
    EXPECT_EQ(question.category, "third");
  EXPECT_EQ(choose_questions(numbered(30), {.categories = {"third"}}).size(), 10u);
  EXPECT_THAT(error_of([] {
                choose_questions(numbered(3), {.categories = {"third", "fourth"}});
              }),
              HasSubstr("--categories fourth: there is none of that name; there are other, third"));
}

TEST(VisionDataset, WhatIsMissingIsSaid) {
  EXPECT_THAT(error_of([] { find_vision_dataset("coco"); }),
              HasSubstr("easyvqa, grid, multi-image, milebench, gqa"));
  EXPECT_THAT(error_of([] { load_vision_questions(find_vision_dataset("gqa"), ""); }),
              HasSubstr("--data FOLDER"));
  const test_support::VisionFiles files;
  files.write("empty/questions.jsonl", "\n");
  EXPECT_THAT(error_of([&] { load_vision_questions(find_vision_dataset("grid"), files.path("empty")); }),
              HasSubstr("no question in it"));
  EXPECT_EQ(load_vision_questions(find_vision_dataset("grid"), files.write_grid("good", 2, 3)).size(), 6u);
}

}  // namespace
}  // namespace fastcache::eval
