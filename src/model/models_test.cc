// SPDX-License-Identifier: Apache-2.0
#include "model/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "base/error.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using ::testing::HasSubstr;

// Sets a variable for one test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = getenv(name)) old_ = old;
    if (value != nullptr)
      setenv(name, value, 1);
    else
      unsetenv(name);
  }
  ~Variable() {
    if (old_)
      setenv(name_, old_->c_str(), 1);
    else
      unsetenv(name_);
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

std::string message_of(const std::string& name) {
  try {
    find_model(name);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::not_found);
    return error.what();
  }
  return "";
}

TEST(Models, CacheFolderFollowsTheVariables) {
  const Variable a("FASTCACHE_CACHE", "/one"), b("XDG_CACHE_HOME", "/two"), c("HOME", "/three");
  EXPECT_EQ(cache_folder(), "/one");
  const Variable no_a("FASTCACHE_CACHE", nullptr);
  EXPECT_EQ(cache_folder(), "/two/fastcache");
  const Variable no_b("XDG_CACHE_HOME", "");
  EXPECT_EQ(cache_folder(), "/three/.cache/fastcache");
  const Variable no_c("HOME", nullptr);
  EXPECT_THROW(cache_folder(), Error);
}

TEST(Models, FindsByPathAndByName) {
  const test_support::TemporaryFolder folder;
  const Variable cache("FASTCACHE_CACHE", folder.path().c_str());
  EXPECT_TRUE(list_models().empty());
  EXPECT_THAT(message_of(""), HasSubstr("make setup"));
  EXPECT_THAT(message_of("x"), HasSubstr("make setup"));

  std::filesystem::create_directories(folder.path() / "models" / "folder.gguf");
  std::ofstream(folder.path() / "models" / "b.gguf") << "12345";
  std::ofstream(folder.path() / "models" / "a.gguf") << "1";
  std::ofstream(folder.path() / "models" / "notes.txt") << "1";
  ASSERT_EQ(list_models().size(), 2u);
  EXPECT_EQ(list_models()[0].path.filename(), "a.gguf");
  EXPECT_EQ(list_models()[1].bytes, 5u);
  EXPECT_EQ(find_model("a"), folder.path() / "models" / "a.gguf");
  EXPECT_EQ(find_model("b.gguf"), folder.path() / "models" / "b.gguf");
  EXPECT_EQ(find_model(folder.file("models/b.gguf")), folder.path() / "models" / "b.gguf");
  EXPECT_THAT(message_of("c"), HasSubstr("a.gguf, b.gguf"));
  EXPECT_THAT(message_of("../models/a"), HasSubstr("neither a file"));
}

TEST(Models, VisionFilesCountTogetherAndAreNoModels) {
  const test_support::TemporaryFolder folder;
  const Variable cache("FASTCACHE_CACHE", folder.path().c_str());
  const auto vision = folder.path() / "models" / "smollm2-135m-grid";
  std::filesystem::create_directories(vision);
  std::ofstream(vision / "mmproj.gguf") << "1";
  EXPECT_FALSE(default_vision());
  std::ofstream(vision / "adapter.gguf") << "1";
  ASSERT_TRUE(default_vision());
  EXPECT_EQ(default_vision()->mmproj, vision / "mmproj.gguf");
  EXPECT_TRUE(list_models().empty());
}

}  // namespace
}  // namespace fastcache::model
