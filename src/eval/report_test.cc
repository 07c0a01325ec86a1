// SPDX-License-Identifier: Apache-2.0
// Figures and reports of results that are written down by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/error.h"
#include "eval/figures.h"
#include "eval/report_html.h"
#include "eval/report_json.h"
#include "eval/report_table.h"
#include "model/testing/tiny_model.h"

namespace fastcache::eval {
namespace {

Resident resident(double bytes, int tokens_on_compressed) {
  return {.bytes = {bytes, bytes},
          .peak_bytes = {bytes + 100, bytes + 300},
          .ratios = {0.5, 0.52},
          .tokens = 20,
          .tokens_on_compressed = tokens_on_compressed};
}

// Two documents with gains of 1 and 3 nats; half of the bytes.
EvalResult result() {
  EvalResult made{.options = {.removed = {0.5}, .documents = 2, .examples = 2, .lengths = {2048}},
                  .model = "tiny <b>",
                  .n_documents = 2,
                  .n_tasks = 1};
  made.text = {.documents = {"one", "</script><b>two"},
               .full_nll = {1, 2},
               .window_nll = {2, 5},
               .window_kl = {1, 1},
               .window_top1 = {0.5, 0.5},
               .full_bytes = {1000, 1000},
               .full_peak_bytes = {1200, 2000},
               .target_bytes = {{500, 500}}};
  made.text.rows = {{.press = "random",
                     .simple_baseline = true,
                     .removed = 0.5,
                     .nll = {2, 4},
                     .kl = {1, 2},
                     .top1 = {0.25, 0.75},
                     .resident = resident(500, 20)},
                    {.press = "snapkv",
                     .removed = 0.5,
                     .nll = {1, 2},
                     .kl = {0, 0},
                     .top1 = {1, 1},
                     .resident = resident(510, 20)},
                    {.press = "cheat",
                     .removed = 0.5,
                     .nll = {1, 2},
                     .kl = {0, 0},
                     .top1 = {1, 1},
                     .resident = resident(500, 17)}};
  made.text.formats = {{.bits = 4,
                        .rows = {{.press = "quantized(bits=4)",
                                  .nll = {1, 3},
                                  .kl = {0.5, 0.5},
                                  .top1 = {1, 0.5},
                                  .resident = resident(280, 20)}}}};
  TaskResult needle{.task = "needle",
                    .length = 2048,
                    .full_exact = {1, 0},
                    .full_likely = {1, 1},
                    .full_bytes = {1000, 1000}};
  needle.rows = {
      {.press = "random",
       .simple_baseline = true,
       .removed = 0.5,
       .exact = {0, 0},
       .likely = {0, 1},
       .resident = resident(500, 20)},
      {.press = "snapkv", .removed = 0.5, .exact = {1, 0}, .likely = {1, 1}, .resident = resident(500, 20)}};
  made.tasks = {needle};
  return made;
}

TEST(Figures, GainRetained) {
  const EvalResult made = result();
  const TextFigures random = text_figures(made.text, made.text.rows[0], 1);
  EXPECT_DOUBLE_EQ(random.retained.value, (0.0 + 1.0) / (1.0 + 3.0));
  EXPECT_DOUBLE_EQ(random.kl, 1.5);
  EXPECT_DOUBLE_EQ(random.top1, 0.5);
  EXPECT_DOUBLE_EQ(random.perplexity, std::exp(3.0));
  EXPECT_DOUBLE_EQ(random.resident.of_full, 0.5);
  EXPECT_DOUBLE_EQ(random.resident.ratio, 0.51);
  EXPECT_DOUBLE_EQ(random.peak_of_full, 1400.0 / 3200);
  EXPECT_TRUE(random.resident.valid);
  EXPECT_DOUBLE_EQ(text_figures(made.text, made.text.rows[1], 1).retained.value, 1.0);
}

TEST(Figures, TasksCountWhereTheModelCanDoThem) {
  const EvalResult made = result();
  EXPECT_FALSE(is_counted(made.tasks[0], Measure::exact));
  EXPECT_TRUE(is_counted(made.tasks[0], Measure::likely));
  const std::vector<TaskAverage> averages = task_averages(made);
  ASSERT_EQ(averages.size(), 2u);
  EXPECT_EQ(averages[0].n, 2);  // of the likelihood alone
  EXPECT_DOUBLE_EQ(averages[0].share.value, 0.5);
  EXPECT_DOUBLE_EQ(averages[1].share.value, 1.0);
}

TEST(Report, TableSaysWhatIsNotCountedAndWhatIsInvalid) {
  const std::string table = report_table(result());
  for (const char* part :
       {"not counted: the model itself reaches 50 % (n = 2)", "invalid",
        "Bytes held differ from random's by at most 2.0 %",
        "Strongest simple baseline (*) by fraction: random (25)", "n = 2; full cache 100 %", "random *",
        "85 %", "Text, 4 bits an element", "quantized(bits=4)"})
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  EXPECT_NE(report_markdown(result()).find("| snapkv | 100 [100, 100] | 100 % |"), std::string::npos)
      << report_markdown(result());
}

TEST(Report, JsonHasFiguresAndSamples) {
  const nlohmann::json json = report_json(result());
  const nlohmann::json& row = json["text"]["rows"][0];
  EXPECT_EQ(row["press"], "random");
  EXPECT_DOUBLE_EQ(row["gain_retained"]["value"], 0.25);
  EXPECT_EQ(row["nll"], (std::vector<double>{2, 4}));
  EXPECT_EQ(row["share_on_compressed"], 1.0);
  EXPECT_EQ(row["peak_bytes"], (std::vector<double>{600, 800}));
  EXPECT_EQ(row["peak_of_full"], 1400.0 / 3200);
  EXPECT_EQ(json["text"]["rows"][2]["valid"], false);
  EXPECT_EQ(json["tasks"][0]["counted"]["exact"], false);
  EXPECT_EQ(json["tasks"][0]["counted"]["likelihood"], true);
  EXPECT_EQ(json["text"]["n"], 2);
  const nlohmann::json& format = json["text"]["formats"][0];
  EXPECT_EQ(format["bits"], 4);
  EXPECT_DOUBLE_EQ(format["rows"][0]["gain_retained"]["value"], 0.75);
  EXPECT_DOUBLE_EQ(format["rows"][0]["resident_of_full"], 0.28);
}

TEST(Report, WithoutTextOrTasks) {
  EvalResult empty = result();
  empty.text = {};
  empty.n_documents = 0;
  EXPECT_EQ(report_table(empty).find("Context gain"), std::string::npos);
  EXPECT_EQ(report_json(empty)["text"]["n"], 0);
  empty = result();
  empty.tasks.clear();
  empty.n_tasks = 0;
  EXPECT_EQ(report_table(empty).find("needle"), std::string::npos);
}

TEST(Report, SaysHowFarAStoppedRunCame) {
  EvalResult stopped = result();
  EXPECT_TRUE(is_complete(stopped));
  EXPECT_EQ(report_table(stopped).find("Stopped"), std::string::npos);
  EXPECT_EQ(report_json(stopped)["complete"], true);
  stopped.options.examples = 16;
  stopped.n_tasks = 9;
  const std::string far = "2 of 2 documents, 1 of 9 tasks, the last with 2 of 16 examples";
  EXPECT_EQ(how_far(stopped), far);
  EXPECT_FALSE(is_complete(stopped));
  EXPECT_NE(report_table(stopped).find("Stopped before the end: " + far + "."), std::string::npos);
  EXPECT_EQ(report_json(stopped)["complete"], false);
  EXPECT_NE(report_html(stopped, "").find("\"how_far\":\"" + far), std::string::npos);
  stopped.n_tasks = 1;
  EXPECT_FALSE(is_complete(stopped));
  EvalResult nothing{.n_documents = 12};
  EXPECT_FALSE(is_complete(nothing));
  EXPECT_EQ(how_far(nothing), "0 of 12 documents");
  EXPECT_NE(report_table(nothing).find("0 of 12 documents"), std::string::npos);
}

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(Report, PageIsOneFileAndNamesCannotLeaveTheirPlace) {
  const std::string page = report_html(result(), "var Chart = '</script>/*data*/';");
  EXPECT_EQ(count(page, "</script>"), 3);
  EXPECT_EQ(count(page, "<b>"), 0);
  EXPECT_EQ(count(page, "src="), 0);
  EXPECT_EQ(count(page, "http://www.w3.org/2000/svg"), 1);  // a name, not a place
  EXPECT_EQ(count(page, "http"), 1);
  EXPECT_EQ(count(page, "var Chart = '<\\/script>/*data*/';"), 1);
  const size_t begin = page.find('{', page.find("id=\"data\"")), end = page.find("</script>", begin);
  const nlohmann::json data = nlohmann::json::parse(page.substr(begin, end - begin));
  EXPECT_EQ(data["text"]["documents"][1], "</script><b>two");
  EXPECT_EQ(data["model"], "tiny <b>");
}

TEST(Report, ChartJs) {
  const model::test_support::TemporaryFolder folder;
  std::ofstream(folder.file("chart.js")) << "var Chart;";
  EXPECT_EQ(read_chart_js(folder.file("chart.js")), "var Chart;");
  EXPECT_THROW(read_chart_js(folder.file("none.js")), Error);
}

}  // namespace
}  // namespace fastcache::eval
