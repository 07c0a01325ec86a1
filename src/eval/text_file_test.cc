// SPDX-License-Identifier: Apache-2.0
#include "eval/text_file.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "model/testing/tiny_model.h"

namespace fastcache::eval {
namespace {

using model::test_support::TemporaryFolder;

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

void write_packed(const std::string& path, const std::string& content) {
  const gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_EQ(gzwrite(file, content.data(), static_cast<unsigned>(content.size())),
            static_cast<int>(content.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

TEST(TextFile, PlainAndPackedAreTheSame) {
  const TemporaryFolder folder;
  const std::string text = "Licence\n\nGrüße, 100 €\n";
  write_file(folder.file("a"), text);
  write_packed(folder.file("a.gz"), text);
  EXPECT_EQ(read_text(folder.file("a"), 1000), text);
  EXPECT_EQ(read_text(folder.file("a.gz"), 1000), text);
}

TEST(TextFile, CutsBetweenCharacters) {
  const TemporaryFolder folder;
  write_file(folder.file("a"), "ab€cd");  // the sign has three bytes
  EXPECT_EQ(read_text(folder.file("a"), 2), "ab");
  EXPECT_EQ(read_text(folder.file("a"), 3), "ab");
  EXPECT_EQ(read_text(folder.file("a"), 4), "ab");
  EXPECT_EQ(read_text(folder.file("a"), 5), "ab€");
  EXPECT_EQ(read_text(folder.file("a"), 6), "ab€c");
}

TEST(TextFile, WhatIsNoTextIsEmpty) {
  const TemporaryFolder folder;
  write_file(folder.file("zeros"), std::string("a\0b", 3));
  write_file(folder.file("latin1"),
             "Gr\xfc\xdf"
             "e und so weiter");
  write_file(folder.file("broken.gz"), "\x1f\x8b\x08\x00 not really packed");
  write_file(folder.file("empty"), "");
  for (const char* name : {"zeros", "latin1", "broken.gz", "empty", "missing"})
    EXPECT_EQ(read_text(folder.file(name), 1000), "") << name;
}

TEST(TextFile, FilesBelowAFolderInOrder) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path() / "sub/deeper");
  write_file(folder.file("z"), "1");
  write_file(folder.file("sub/deeper/b"), "2");
  write_file(folder.file("a"), "3");
  std::filesystem::create_symlink(folder.file("z"), folder.file("link"));
  EXPECT_EQ(files_below(folder.path().string()),
            (std::vector<std::string>{folder.file("a"), folder.file("sub/deeper/b"), folder.file("z")}));
  EXPECT_TRUE(files_below(folder.file("nowhere")).empty());
}

}  // namespace
}  // namespace fastcache::eval
