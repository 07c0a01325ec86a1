// SPDX-License-Identifier: Apache-2.0
#include "eval/texts.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "engine/testing/loop_model.h"

namespace fastcache::eval {
namespace {

namespace fs = std::filesystem;
using engine::test_support::LoopModel;
using model::test_support::TemporaryFolder;

class Texts : public testing::Test {
 protected:
  static void SetUpTestSuite() { loop_ = std::make_unique<LoopModel>(); }
  static void TearDownTestSuite() { loop_.reset(); }
  static const model::Vocab& vocab() { return loop_->model.vocab; }

  void write(const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(folder_.file(name)).parent_path());
    std::ofstream(folder_.file(name), std::ios::binary) << text;
  }
  // Lines that name the file and are all different.
  void write_lines(const std::string& name, int n) {
    std::string text;
    for (int i = 0; i < n; ++i) text += name + " line " + std::to_string(i) + '\n';
    write(name, text);
  }
  std::vector<TokenText> read(const std::string& name, const TextWish& wish) {
    return user_texts(folder_.file(name), vocab(), wish);
  }
  std::string sentence(const std::string& name, const TextWish& wish, Code code) {
    try {
      read(name, wish);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return {};
  }

  TemporaryFolder folder_;

 private:
  static inline std::unique_ptr<LoopModel> loop_;
};

TEST_F(Texts, SameSeedSameTexts) {
  for (int i = 0; i < 8; ++i) write_lines("data/" + std::to_string(i), 40);
  const auto first = read("data", {.n = 4, .min_tokens = 64, .seed = 5});
  const auto again = read("data", {.n = 4, .min_tokens = 64, .seed = 5});
  const auto other = read("data", {.n = 4, .min_tokens = 64, .seed = 6});
  ASSERT_EQ(first.size(), 4u);
  std::set<std::string> names;
  bool same = true;
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].tokens.size(), 64u);
    EXPECT_EQ(first[i].name, again[i].name);
    EXPECT_EQ(first[i].tokens, again[i].tokens);
    same = same && first[i].tokens == other[i].tokens;
    names.insert(first[i].name);
  }
  EXPECT_EQ(names.size(), 4u);
  EXPECT_FALSE(same);
}

TEST_F(Texts, FewerWhereThereAreNoMore) {
  write_lines("data/long", 40);
  write_lines("data/short", 1);
  const auto texts = read("data", {.n = 10, .min_tokens = 100});
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_EQ(texts[0].name, folder_.file("data/long"));
  EXPECT_EQ(read("data/long", {.n = 1, .min_tokens = 100}).size(), 1u);
}

TEST_F(Texts, JsonLines) {
  write("texts.jsonl", R"({"text": "aaaa bbbb cccc dddd"})"
                       "\n\n"
                       R"({"text": "eeee ffff gggg hhhh", "id": 3})"
                       "\n");
  const auto texts = read("texts.jsonl", {.n = 5, .min_tokens = 8});
  ASSERT_EQ(texts.size(), 2u);
  std::set<std::string> names{texts[0].name, texts[1].name};
  EXPECT_TRUE(names.contains(folder_.file("texts.jsonl") + ":1"));
  EXPECT_TRUE(names.contains(folder_.file("texts.jsonl") + ":3"));
}

TEST_F(Texts, SaysWhatIsWrong) {
  const TextWish wish{.n = 2, .min_tokens = 100};
  EXPECT_NE(sentence("nowhere", wish, Code::not_found).find("no such file"), std::string::npos);
  fs::create_directories(folder_.file("empty"));
  EXPECT_NE(sentence("empty", wish, Code::bad_request).find("no text in it"), std::string::npos);
  write("binary/a", std::string("\0\1\2", 3));
  EXPECT_NE(sentence("binary", wish, Code::bad_request).find("no text in it"), std::string::npos);
  write_lines("few/a", 2);
  EXPECT_NE(sentence("few", wish, Code::bad_request).find("of 1 texts none has 100 tokens"),
            std::string::npos);
  for (const char* line : {"no json", "[1]", R"({"txt": "a"})", R"({"text": 1})", "{\"text\": \"\xff\"}"}) {
    write("bad.jsonl", std::string("{\"text\": \"fine\"}\n") + line + '\n');
    EXPECT_NE(sentence("bad.jsonl", wish, Code::bad_request).find("line 2"), std::string::npos) << line;
  }
  write("none.jsonl", "\n");
  EXPECT_NE(sentence("none.jsonl", wish, Code::bad_request).find("no text in it"), std::string::npos);
}

TEST_F(Texts, SystemTakesOneOfEachKindInTurn) {
  write_lines("licences/GPL", 60);
  write_lines("licences/MPL", 60);
  write_lines("man/man1/ls.1", 60);
  write_lines("man/de/man1/ls.1", 60);  // a translation: not taken
  write_lines("doc/pkg/changelog.Debian", 60);
  write_lines("doc/pkg/copyright", 60);
  write_lines("doc/pkg/README", 60);  // not taken
  const SystemFolders folders{folder_.file("licences"), folder_.file("man"), folder_.file("doc")};
  const auto texts = system_texts(vocab(), {.n = 10, .min_tokens = 100}, folders);
  ASSERT_EQ(texts.size(), 5u);
  EXPECT_EQ(texts[1].name, folder_.file("man/man1/ls.1"));
  EXPECT_EQ(texts[2].name, folder_.file("doc/pkg/changelog.Debian"));
  const SystemFolders nothing{folder_.file("x"), folder_.file("y"), folder_.file("z")};
  EXPECT_THROW(system_texts(vocab(), {.n = 1, .min_tokens = 100}, nothing), Error);
}

}  // namespace
}  // namespace fastcache::eval
