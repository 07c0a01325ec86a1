// SPDX-License-Identifier: Apache-2.0
#include "image/local_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"

namespace fastcache::image {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

// allowed/a.png, allowed/deep/b 1.png; secret.png beside it; links from inside to both.
class LocalFileTest : public ::testing::Test {
 protected:
  LocalFileTest() : root_(fs::path(::testing::TempDir()) / ("local_file_" + std::to_string(getpid()))) {
    fs::create_directories(root_ / "allowed/deep");
    fs::create_directories(root_ / "allowed2");
    write("allowed/a.png", "aaaa");
    write("allowed/deep/b 1.png", "bb");
    write("secret.png", "secret");
    write("allowed2/c.png", "c");
    fs::create_symlink(root_ / "secret.png", root_ / "allowed/out.png");
    fs::create_symlink("a.png", root_ / "allowed/in.png");
    fs::create_symlink("..", root_ / "allowed/up");
    fs::create_symlink("/dev/zero", root_ / "allowed/zero");
    mkfifo((root_ / "allowed/pipe").c_str(), 0600);
  }
  ~LocalFileTest() override { fs::remove_all(root_); }

  void write(const char* name, const char* text) const { std::ofstream(root_ / name) << text; }
  std::vector<uint8_t> read(const std::string& name, size_t max_bytes = 100) const {
    return read_file_below((root_ / "allowed").string(), name, max_bytes);
  }
  std::string refusal(const std::string& name, Code code, size_t max_bytes = 100) const {
    try {
      read(name, max_bytes);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    return "it was taken";
  }

  fs::path root_;
};

TEST_F(LocalFileTest, NamesPathsAndUrls) {
  const std::string absolute = (root_ / "allowed/a.png").string();
  for (const std::string& name : {std::string("a.png"), std::string("./deep/../a.png"), absolute,
                                  "file://" + absolute, "file://localhost" + absolute, std::string("in.png")})
    EXPECT_EQ(read(name), bytes_of("aaaa")) << name;
  EXPECT_EQ(read("deep/b 1.png"), bytes_of("bb"));
  EXPECT_EQ(read("file://" + (root_ / "allowed/deep/b%201.p%6Eg").string()), bytes_of("bb"));
}

TEST_F(LocalFileTest, NothingOutsideIsReadOrToldApartFromNothing) {
  const std::string missing = refusal("missing.png", Code::not_found);
  EXPECT_EQ(missing, "there is no file missing.png in the folder of --allow-local-images");
  for (const std::string& name :
       {std::string("../secret.png"), std::string("out.png"), std::string("up/secret.png"),
        (root_ / "secret.png").string(), "file://" + (root_ / "secret.png").string(),
        std::string("/etc/passwd"), std::string("zero"), std::string("/dev/zero"),
        std::string("/proc/self/environ"), std::string("../allowed2/c.png"),
        (root_ / "allowed2/c.png").string(), std::string("../none.png"),
        std::string("file:///%2e%2e/etc/passwd"), std::string("a.png\0b", 7), std::string()})
    EXPECT_THAT(refusal(name, name.empty() ? Code::bad_request : Code::not_found),
                HasSubstr(name.empty() ? "no regular file" : "there is no file"))
        << name;
}

TEST_F(LocalFileTest, NothingButRegularFilesIsOpened) {
  for (const char* name : {"pipe", "deep", "."})  // a pipe would wait for ever
    EXPECT_THAT(refusal(name, Code::bad_request), HasSubstr("no regular file")) << name;
}

TEST_F(LocalFileTest, SizeLimit) {
  EXPECT_EQ(read("a.png", 4), bytes_of("aaaa"));
  EXPECT_THAT(refusal("a.png", Code::bad_request, 3), HasSubstr("a.png has more than 3 bytes"));
}

TEST_F(LocalFileTest, UrlsThatAreNone) {
  EXPECT_THAT(refusal("file://other/a.png", Code::bad_request), HasSubstr("names another machine"));
  EXPECT_THAT(refusal("file:///a%2", Code::bad_request), HasSubstr("no two digits follow"));
}

TEST_F(LocalFileTest, AFolderThatIsNotThere) {
  EXPECT_THROW(read_file_below((root_ / "none").string(), "a.png", 10), Error);
}

TEST_F(LocalFileTest, TheCommandLineReadsAnyRegularFile) {
  EXPECT_EQ(read_file((root_ / "allowed/out.png").string(), 100), bytes_of("secret"));
  try {
    read_file((root_ / "none.png").string(), 100);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::not_found);
    EXPECT_THAT(error.what(), HasSubstr("there is no file"));
  }
  EXPECT_THROW(read_file("/dev/zero", 100), Error);
}

}  // namespace
}  // namespace fastcache::image
