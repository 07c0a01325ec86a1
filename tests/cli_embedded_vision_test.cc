// SPDX-License-Identifier: Apache-2.0
// The embedded vision-language model as every machine has it, with nothing named: pictures that no training
// saw are asked about, and the answers counted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "child.h"
#include "model/models.h"
#include "model/testing/tiny_model.h"

namespace fastcache {
namespace {

using test_support::ChildResult;
using test_support::run_fastcache;
using ::testing::HasSubstr;

const std::string kExamples = "models/smollm2-135m-grid/examples";  // tests run in the repository's root

nlohmann::json eval(const std::string& dataset, std::vector<std::string> more) {
  more.insert(more.begin(), {"eval", "--dataset", dataset, "--data", kExamples + "/" + dataset, "--pool",
                             "256MiB", "--json", "-"});
  // Under a sanitizer, beside other tests, thousands of picture rows take minutes.
  const ChildResult result = run_fastcache(more, {.limit = std::chrono::minutes(5)});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return nlohmann::json::parse(result.out);
}

double accuracy(const nlohmann::json& json) { return json["all"]["accuracy"]["value"].get<double>(); }

TEST(EmbeddedVision, ReadsCells) {
  const nlohmann::json json = eval("grid", {"--categories", "cell,color"});
  EXPECT_GE(json["all"]["n"], 30);
  EXPECT_GE(accuracy(json), 0.9) << json["answers"].dump(1);  // chance: below 0.2
}

TEST(EmbeddedVision, TellsPicturesApart) {
  const nlohmann::json json = eval("multi-image", {"--categories", "which picture", "--examples", "6"});
  EXPECT_GE(accuracy(json), 0.8);  // chance: 1 in 8
}

TEST(EmbeddedVision, BlindItKnowsNothing) {
  EXPECT_LE(accuracy(eval("grid", {"--categories", "cell", "--blind", "--answer-tokens", "8"})), 0.3);
}

TEST(EmbeddedVision, OneQuestion) {
  const std::string image = kExamples + "/grid/pictures/0000-0.png";
  const ChildResult result =
      run_fastcache({"run", "--image", image, "-n", "8", "What is in row 1, column 1?"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("(100 of pictures)"));
  EXPECT_EQ(result.out, "purple triangle\n");
}

// The encoder is that of the embedded model: another one is not given it, and "none" takes it away.
TEST(EmbeddedVision, ForNoOtherModel) {
  const model::test_support::TemporaryFolder folder;
  const std::string copy = folder.file("copy.gguf");
  std::filesystem::copy_file(model::default_model(), copy);
  const std::string image = kExamples + "/grid/pictures/0000-0.png";
  for (const std::vector<std::string>& more : {std::vector<std::string>{"-m", copy}, {"--mmproj", "none"}}) {
    std::vector<std::string> arguments{"run", "--image", image, "what?"};
    arguments.insert(arguments.begin() + 1, more.begin(), more.end());
    const ChildResult result = run_fastcache(arguments);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.err, HasSubstr("--mmproj"));
  }
  const ChildResult lora =
      run_fastcache({"run", "--mmproj", "none", "--lora", copy, "--image", image, "what?"});
  EXPECT_EQ(lora.exit_code, exit_code(Code::bad_request));
  EXPECT_THAT(lora.err, HasSubstr("--mmproj none"));
}

}  // namespace
}  // namespace fastcache
