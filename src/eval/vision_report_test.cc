// SPDX-License-Identifier: Apache-2.0
// Table, JSON and page of an evaluation whose texts come from a hostile dataset.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "eval/testing/vision_files.h"
#include "eval/vision_figures.h"
#include "eval/vision_html.h"
#include "eval/vision_json.h"
#include "eval/vision_table.h"

namespace fastcache::eval {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kHostile = "</script><img src=x onerror=alert(1)>\x1b[31m\"'&<b>";

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

class VisionReport : public ::testing::Test {
 protected:
  VisionReport() {
    result_.options = {.dataset = "grid", .seed = 7};
    result_.model = "tiny";
    const std::string picture = files_.write_picture("p.png", 1);
    for (int i = 0; i < 10; ++i) {
      result_.questions.push_back({.source = "questions.jsonl, line " + std::to_string(i),
                                   .category = i < 4 ? "cell" : kHostile,
                                   .before = {kHostile + std::to_string(i / 2)},
                                   .pictures = {picture},
                                   .question = kHostile,
                                   .answer = "right"});
      result_.answers.push_back(
          {.asked = true, .text = i < 3 ? "right" : kHostile, .score = i < 3 ? 1.0 : 0.0});
    }
    result_.answers[8] = {.asked = true, .error = std::string("it failed ") + kHostile};
    result_.answers[9] = {};
    result_.stopped = true;
  }
  void add_presses() {
    result_.full_bytes.assign(8, 1000);
    for (const char* press : {"random", "knorm"}) {
      VisionPressRow row{.press = press, .simple_baseline = true, .removed = 0.5};
      for (int i = 0; i < 8; ++i) row.scores.push_back(i < 2 ? 1 : 0);
      row.resident = {.bytes = std::vector<double>(8, 500),
                      .ratios = std::vector<double>(8, 0.5),
                      .tokens = 40,
                      .tokens_on_compressed = 40};
      result_.presses.push_back(row);
    }
  }
  static nlohmann::json data_of(const std::string& page) {
    const size_t begin = page.find('{', page.find("id=\"data\"")), end = page.find("</script>", begin);
    return nlohmann::json::parse(page.substr(begin, end - begin));
  }

  test_support::VisionFiles files_;
  VisionResult result_;
};

TEST_F(VisionReport, FiguresCountWhatWasAnswered) {
  const VisionFigures figures = vision_figures(result_);
  EXPECT_EQ(figures.all.n, 8);
  EXPECT_DOUBLE_EQ(figures.all.accuracy.value, 3.0 / 8);
  EXPECT_LT(figures.all.accuracy.low, 3.0 / 8);
  EXPECT_GT(figures.all.accuracy.high, 3.0 / 8);
  ASSERT_EQ(figures.categories.size(), 2u);
  EXPECT_EQ(figures.categories[1].category, "cell");
  EXPECT_EQ(figures.categories[1].n, 4);
  EXPECT_DOUBLE_EQ(figures.categories[1].accuracy.value, 0.75);
  EXPECT_EQ(figures.n_failed, 1);
  EXPECT_EQ(figures.n_left, 1);
}

TEST_F(VisionReport, TableForATerminal) {
  const std::string table = vision_table(result_);
  EXPECT_THAT(table, HasSubstr("grid: accuracy"));
  EXPECT_THAT(table, HasSubstr("8 of 10 questions answered (seed 7)"));
  EXPECT_THAT(table,
              HasSubstr("1 failed and are not counted; the first: questions.jsonl, line 8: it failed"));
  EXPECT_THAT(table, HasSubstr("1 were not asked"));
  EXPECT_THAT(table, HasSubstr("75.0"));
  EXPECT_EQ(count(table, "\x1b"), 0);  // a terminal would obey it
  EXPECT_THAT(table, Not(HasSubstr("knorm")));
  add_presses();
  EXPECT_THAT(vision_table(result_), HasSubstr("knorm *"));
  EXPECT_THAT(vision_markdown(result_), HasSubstr("| knorm * | 50 | 50.0 | 0.500 | 25.0"));
  result_.questions[0].category = "a|b";
  EXPECT_THAT(vision_markdown(result_), HasSubstr("| a\\|b | 1 |"));
}

TEST_F(VisionReport, Json) {
  add_presses();
  const nlohmann::json json = vision_json(result_);
  EXPECT_EQ(json["all"]["n"], 8);
  EXPECT_EQ(json["answers"].size(), 9u);
  EXPECT_EQ(json["answers"][4]["answer"], kHostile);
  EXPECT_EQ(json["answers"][4]["score"], 0);
  EXPECT_TRUE(json["answers"][8].contains("error"));
  EXPECT_FALSE(json["answers"][8].contains("score"));
  EXPECT_EQ(json["presses"].size(), 2u);
  EXPECT_EQ(json["presses"][1]["resident_of_full"], 0.5);
  EXPECT_EQ(json["presses"][1]["accuracy"]["value"], 0.25);
  EXPECT_EQ(json["presses"][1]["score_by_question"].size(), 9u);  // as the answers
  EXPECT_EQ(json["presses"][1]["score_by_question"][1], 1);
  EXPECT_TRUE(json["presses"][1]["score_by_question"][8].is_null());
}

TEST_F(VisionReport, ThePageShowsWrongAnswersAndObeysNone) {
  add_presses();
  const std::string page = vision_html(result_, "var Chart = 0;");
  EXPECT_EQ(count(page, "</script>"), 3);
  EXPECT_EQ(count(page, "<img"), 0);  // made by the page's script
  EXPECT_EQ(count(page, "<b>"), 0);
  EXPECT_EQ(count(page, "\x1b"), 0);
  const nlohmann::json data = data_of(page);
  EXPECT_EQ(data["n_wrong"], 5);
  ASSERT_EQ(data["wrong"].size(), 5u);
  EXPECT_EQ(data["wrong"][0]["answer"], kHostile);
  EXPECT_EQ(data["wrong"][0]["question"], kHostile);
  ASSERT_EQ(data["pictures"].size(), 1u);  // five questions share it
  EXPECT_THAT(data["pictures"][0].get<std::string>(), ::testing::StartsWith("data:image/png;base64,iVBORw0"));
  EXPECT_FALSE(data.contains("answers"));
}

TEST_F(VisionReport, ThePageHasLimits) {
  EXPECT_EQ(data_of(vision_html(result_, "", {.answers = 2}))["wrong"].size(), 2u);
  EXPECT_EQ(data_of(vision_html(result_, "", {.answers = 2}))["n_wrong"], 5);
  EXPECT_EQ(data_of(vision_html(result_, "", {.picture_bytes = 10}))["pictures"][0], "");
  result_.questions[4].pictures = {files_.path("gone.png")};
  const nlohmann::json data = data_of(vision_html(result_, ""));
  EXPECT_EQ(data["pictures"][1], "");
  result_.options.blind = true;
  EXPECT_EQ(data_of(vision_html(result_, ""))["pictures"].size(), 0u);
}

TEST_F(VisionReport, NothingAnsweredHasNoFigure) {
  for (VisionAnswer& answer : result_.answers) answer = {};
  EXPECT_THAT(vision_table(result_), HasSubstr("0 of 10"));
  EXPECT_TRUE(data_of(vision_html(result_, ""))["all"]["accuracy"]["value"].is_null());
}

}  // namespace
}  // namespace fastcache::eval
