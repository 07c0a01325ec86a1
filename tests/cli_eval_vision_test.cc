// SPDX-License-Identifier: Apache-2.0
// `fastcache eval --dataset` as a user runs it: a tiny model that sees, in process and behind our server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "child.h"
#include "eval/testing/vision_files.h"
#include "serve_child.h"

namespace fastcache {
namespace {

using test_support::ChildResult;
using test_support::run_fastcache;
using ::testing::HasSubstr;

class CliEvalVision : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    files_ = std::make_unique<eval::test_support::VisionFiles>();
    files_->write_grid("grid", 4, 5);
  }
  static void TearDownTestSuite() { files_.reset(); }
  static std::string file(const std::string& name) { return files_->path(name); }
  static std::string read(const std::string& name) {
    std::ifstream in(file(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static ChildResult eval(std::vector<std::string> more) {
    more.insert(more.begin(), {"eval", "--dataset", "grid", "--data", file("grid"), "--answer-tokens", "8"});
    return run_fastcache(more);
  }
  static ChildResult eval_here(std::vector<std::string> more) {
    more.insert(more.end(),
                {"-m", files_->model(), "--mmproj", files_->mmproj(), "--pool", "16MiB", "-t", "1"});
    return eval(more);
  }
  static void expect_error(const ChildResult& result, Code code, const std::string& part) {
    EXPECT_EQ(result.exit_code, exit_code(code)) << result.err;
    EXPECT_THAT(result.err, HasSubstr(part));
    EXPECT_EQ(result.out, "");
  }
  static std::vector<std::string> answers_in(const nlohmann::json& json) {
    std::vector<std::string> texts;
    for (const auto& answer : json["answers"]) texts.push_back(answer.value("answer", "failed"));
    return texts;
  }

  static inline std::unique_ptr<eval::test_support::VisionFiles> files_;
};

TEST_F(CliEvalVision, TableJsonPageAndMarkdown) {
  const ChildResult result =
      eval_here({"--json", file("r.json"), "--html", file("r.html"), "--markdown", file("r.md")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");  // no terminal, no progress
  for (const char* part : {"grid: accuracy", "20 of 20 questions", "first", "other", "all"})
    EXPECT_THAT(result.out, HasSubstr(part));
  const nlohmann::json json = nlohmann::json::parse(read("r.json"));
  EXPECT_EQ(json["answers"].size(), 20u);
  EXPECT_EQ(json["categories"][0]["n"], 4);
  EXPECT_THAT(read("r.html"), HasSubstr("data:image/png;base64,"));
  EXPECT_THAT(read("r.md"), HasSubstr("| first | 4 |"));
}

TEST_F(CliEvalVision, ThroughAServerTheAnswersAreTheSame) {
  const ChildResult here = eval_here({"--json", "-"});
  ASSERT_EQ(here.exit_code, 0) << here.err;
  test_support::ServerChild server(
      {"-m", files_->model(), "--mmproj", files_->mmproj(), "--pool", "16MiB", "-t", "1"});
  server.wait_until_ready();
  const std::string url = "http://127.0.0.1:" + std::to_string(server.port());
  const ChildResult there = eval({"--url", url, "--concurrency", "4", "--json", "-"});
  ASSERT_EQ(there.exit_code, 0) << there.err;
  const nlohmann::json said = nlohmann::json::parse(there.out);
  EXPECT_EQ(answers_in(said), answers_in(nlohmann::json::parse(here.out)));
  EXPECT_EQ(said["url"], url);
  EXPECT_EQ(said["model"], "text");
  const ChildResult table = eval({"--url", url, "--blind", "--examples", "3"});
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("3 of 3 questions answered, without the pictures"));
}

TEST_F(CliEvalVision, Presses) {
  const ChildResult result = eval_here({"--press", "snapkv(window=8)", "--removed", "0.75", "--json",
                                        file("p.json"), "--html", file("p.html")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* part : {"random *", "streaming_llm *", "snapkv(window=8)"})
    EXPECT_THAT(result.out, HasSubstr(part));
  const nlohmann::json json = nlohmann::json::parse(read("p.json"));
  EXPECT_EQ(json["model"], "text");
  EXPECT_EQ(json["presses"].size(), 3u);
  EXPECT_EQ(json["presses"][2]["n"], 20);
  EXPECT_EQ(json["presses"][2]["share_on_compressed"], 1.0);
}

TEST_F(CliEvalVision, ASampleBySeedAndCategories) {
  const ChildResult result =
      eval_here({"--examples", "6", "--seed", "3", "--categories", "other", "--json", "-"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["answers"].size(), 6u);
  EXPECT_EQ(json["options"]["seed"], 3);
  for (const auto& answer : json["answers"]) EXPECT_EQ(answer["category"], "other");
}

TEST_F(CliEvalVision, SaysWhatIsWrong) {
  const auto refused = [](const std::vector<std::string>& more, Code code, const char* part) {
    expect_error(eval_here(more), code, part);
  };
  refused({"--removed", "1.5"}, Code::bad_request, "--removed 1.5");
  refused({"--categories", "third"}, Code::bad_request, "there are first, other");
  refused({"--press", "snapkw"}, Code::not_found, "there are none");
  refused({"--press", "knorm", "--blind"}, Code::bad_request, "exclude each other");
  refused({"--documents", "3"}, Code::bad_request, "--documents is for texts");
  refused({"--html", file("no/such/folder.html")}, Code::io, "cannot be written");
  refused({"--kv-type", "f64"}, Code::bad_request, "f64");
  expect_error(eval({"-m", files_->model()}), Code::bad_request, "--mmproj FILE");
  expect_error(eval({"--url", "ftp://x"}), Code::bad_request, "ftp");
  expect_error(eval({"--url", "http://127.0.0.1:1", "--press", "knorm"}), Code::bad_request, "--press");
  expect_error(eval({"--url", "http://127.0.0.1:1"}), Code::io, "is the server running");
  EXPECT_THAT(eval({"--url", "http://127.0.0.1:1", "--kv-type", "int8"}).err, HasSubstr("excludes"));
  expect_error(run_fastcache({"eval", "--dataset", "coco"}), Code::not_found, "easyvqa, grid");
  expect_error(run_fastcache({"eval", "--dataset", "gqa", "--mmproj", files_->mmproj()}), Code::bad_request,
               "--data FOLDER");
  EXPECT_NE(run_fastcache({"eval", "--blind"}).exit_code, 0);  // of --dataset
}

TEST_F(CliEvalVision, WhereEveryQuestionFailsThatIsAnError) {
  files_->write_grid("broken", 1, 2);
  files_->write("broken/pictures/0.png", "no picture");
  expect_error(run_fastcache({"eval", "--dataset", "grid", "--data", file("broken"), "--pool", "16MiB", "-m",
                              files_->model(), "--mmproj", files_->mmproj()}),
               Code::bad_request, "broken/pictures/0.png");
}

}  // namespace
}  // namespace fastcache
