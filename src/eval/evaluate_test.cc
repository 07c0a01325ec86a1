// SPDX-License-Identifier: Apache-2.0
#include "eval/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "engine/testing/loop_model.h"
#include "eval/figures.h"
#include "eval/report_json.h"

namespace fastcache::eval {
namespace {

using engine::test_support::LoopModel;

class Evaluate : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    loop_ = std::make_unique<LoopModel>(1024);
    for (int file = 0; file < 3; ++file) {
      std::ofstream out(loop_->folder.file("text" + std::to_string(file)));
      for (int i = 0; i < 60; ++i) out << "file " << file << " line " << i * i << " of some text\n";
    }
    std::filesystem::create_directories(loop_->folder.path() / "data");
    for (int file = 0; file < 3; ++file)
      std::filesystem::rename(loop_->folder.file("text" + std::to_string(file)),
                              loop_->folder.path() / "data" / std::to_string(file));
  }
  static void TearDownTestSuite() { loop_.reset(); }

  static EvalOptions options() {
    return {.presses = {"snapkv(window=16)", "adakv(knorm)", "decoding(knorm, every=16)"},
            .removed = {0.5, 0.75},
            .data = (loop_->folder.path() / "data").string(),
            .documents = 2,
            .context_tokens = 400,
            .continuation_tokens = 60,
            .examples = 1,
            .lengths = {600},
            .query_aware = true};
  }
  static EvalResult run(const EvalOptions& options) {
    return run(options, [](int, int, const std::string&) { return true; });
  }
  static EvalResult run(const EvalOptions& options, const Progress& progress) {
    return evaluate(loop_->model, loop_->compute, options, progress);
  }
  // Stopped before the n-th part whose name has `what` in it.
  static EvalResult stopped(const EvalOptions& options, const std::string& what, int n) {
    bool stops = false;
    return run(options, [&](int, int, const std::string& part) {
      EXPECT_FALSE(stops) << "asked again: " << part;
      stops = part.find(what) != std::string::npos && n-- == 0;
      return !stops;
    });
  }
  static std::string figures(const EvalResult& result, const char* kind) {
    return report_json(result)[kind].dump();  // NaN is equal to itself
  }
  static std::string figures(const TaskResult& task) {
    EvalResult result;
    result.tasks = {task};
    return figures(result, "tasks");
  }
  static void expect_error(const EvalOptions& options, Code code, const std::string& part) {
    try {
      run(options);
      ADD_FAILURE() << "no error: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }

 private:
  static inline std::unique_ptr<LoopModel> loop_;
};

TEST_F(Evaluate, MeasuresEveryMethodAtTheSameBytes) {
  const EvalResult result = run(options());
  ASSERT_EQ(result.text.documents.size(), 2u);
  ASSERT_EQ(result.text.rows.size(), 2u * 5u);
  for (const TextRow& row : result.text.rows) {
    SCOPED_TRACE(row.press);
    ASSERT_EQ(row.nll.size(), 2u);
    EXPECT_EQ(row.resident.tokens, 2 * 60);
    const TextFigures figures = text_figures(result.text, row, 1);
    EXPECT_EQ(figures.resident.on_compressed, 1.0);
    EXPECT_TRUE(figures.resident.valid);
    EXPECT_LE(figures.resident.of_full, 1.0 - row.removed + 1.0 / 25);  // a head has 25 pages
    EXPECT_GT(figures.kl, 0);
    // 25 pages and 29 behind the continuation; what grows does so by 4, what does not by at most 1.
    const double growth = figures.peak_of_full * 29 - figures.resident.of_full * 25;
    EXPECT_NEAR(growth, row.press.starts_with("decoding") ? 1 : 4, 1.01) << "pages of a head";
  }
  // Three kinds of task, each with and without the question known.
  EXPECT_EQ(result.tasks.size(), 6u);
  for (const TaskResult& task : result.tasks) {
    EXPECT_EQ(task.full_exact.size(), 1u);
    for (const TaskRow& row : task.rows) EXPECT_FALSE(row.press.starts_with("decoding"));
  }
}

TEST_F(Evaluate, SameSeedSameResult) {
  EvalOptions wish = options();
  wish.examples = 0;
  nlohmann::json first = report_json(run(wish)), again = report_json(run(wish));
  first.erase("seconds");
  again.erase("seconds");
  EXPECT_EQ(first, again);
  wish.seed = 2;
  EXPECT_NE(first["text"], report_json(run(wish))["text"]);
}

TEST_F(Evaluate, StoppedItHasTheFiguresOfWhatWasFinished) {
  EvalOptions wish = options();
  wish.presses = {"snapkv(window=16)"};
  wish.removed = {0.5};
  wish.lengths = {512};
  wish.query_aware = false;
  wish.least_full = 0;  // what the tiny model says is chance
  const EvalResult right = run([&] {
    EvalOptions one = wish;
    one.documents = one.examples = 1;
    return one;
  }());
  EXPECT_TRUE(is_complete(right));

  wish.documents = wish.examples = 2;
  const EvalResult one_text = stopped(wish, "text, ", 3 + 1);  // in the midst of the second document
  EXPECT_EQ(figures(one_text, "text"), figures(right, "text"));
  EXPECT_EQ(how_far(one_text), "1 of 2 documents, 0 of 3 tasks");
  EXPECT_FALSE(is_complete(one_text));

  wish.documents = 1;                                             // the filler is chosen with the documents
  for (const char* what : {"reading", "tokens, 50 % removed"}) {  // the second task's second example
    const EvalResult one_example = stopped(wish, what, 2 + 1);
    ASSERT_EQ(one_example.tasks.size(), 2u);
    EXPECT_EQ(one_example.tasks[1].rows.size(), 3u);
    EXPECT_EQ(figures(one_example.tasks[1]), figures(right.tasks[1]));
    EXPECT_EQ(how_far(one_example), "1 of 1 documents, 2 of 3 tasks, the last with 1 of 2 examples");
  }
  EXPECT_EQ(how_far(stopped(wish, "uncompressed", 1)), "1 of 1 documents, 0 of 3 tasks");
  EXPECT_EQ(how_far(stopped(wish, "looking", 0)), "0 of 1 documents, 0 of 3 tasks");
}

TEST_F(Evaluate, SaysWhatIsWrongBeforeItWorks) {
  const auto with = [](auto change) {
    EvalOptions wish = options();
    change(wish);
    return wish;
  };
  expect_error(with([](EvalOptions& o) { o.presses = {"snapkw"}; }), Code::not_found, "snapkw");
  for (const double removed : {0.0, 1.0, -0.1, 1.5, std::nan("")})
    expect_error(with([&](EvalOptions& o) { o.removed = {0.5, removed}; }), Code::bad_request, "--removed");
  expect_error(with([](EvalOptions& o) { o.removed = {}; }), Code::bad_request, "--removed");
  expect_error(with([](EvalOptions& o) { o.context_tokens = 990; }), Code::context_too_long, "--context 990");
  expect_error(with([](EvalOptions& o) {
                 o.lengths = {600, 1025};
               }),
               Code::context_too_long, "--lengths 1025");
  expect_error(with([](EvalOptions& o) { o.lengths = {100}; }), Code::bad_request, "--lengths");
  expect_error(with([](EvalOptions& o) { o.lengths = {}; }), Code::bad_request, "--lengths");
  expect_error(with([](EvalOptions& o) { o.context_tokens = 5; }), Code::bad_request, "--context");
  expect_error(with([](EvalOptions& o) { o.continuation_tokens = 0; }), Code::bad_request, "--continuation");
  expect_error(with([](EvalOptions& o) { o.documents = o.examples = 0; }), Code::bad_request,
               "--documents 0");
  expect_error(with([](EvalOptions& o) { o.documents = -1; }), Code::bad_request, "--documents");
  expect_error(with([](EvalOptions& o) { o.continuation_tokens = 16; }), Code::bad_request,
               "comes again behind 16 tokens; --continuation 16");
  expect_error(with([](EvalOptions& o) { o.documents = 0; }), Code::bad_request, "texts that go on");
  expect_error(with([](EvalOptions& o) { o.kv_type = "int3"; }), Code::bad_request, "int3");
  expect_error(with([](EvalOptions& o) { o.data += "/nowhere"; }), Code::not_found, "--data");
}

TEST_F(Evaluate, TextsThatAreTooShort) {
  EvalOptions wish = options();
  std::ofstream(wish.data + "/../short.jsonl") << R"({"text": "only a few words"})" << '\n';
  wish.data += "/../short.jsonl";
  expect_error(wish, Code::bad_request, "none has 461 tokens");
}

}  // namespace
}  // namespace fastcache::eval
