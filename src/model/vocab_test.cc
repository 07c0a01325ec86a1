// SPDX-License-Identifier: Apache-2.0
#include "model/vocab.h"

#include <gguf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "model/models.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using ::testing::HasSubstr;

// One for all tests: loading takes a tenth of a second.
const Vocab& embedded() {
  static const GgufFile file(default_model().string());
  static const Vocab vocab(file);
  return vocab;
}

TEST(Vocab, KnowsItsSpecialTokens) {
  const Vocab& vocab = embedded();
  EXPECT_EQ(vocab.n_tokens(), 49152);
  EXPECT_EQ(vocab.bos(), 1);
  EXPECT_EQ(vocab.eos(), 2);
  EXPECT_FALSE(vocab.adds_bos());
  EXPECT_TRUE(vocab.is_eog(2));
  EXPECT_TRUE(vocab.is_control(1));
  EXPECT_FALSE(vocab.is_eog(-1));
  EXPECT_FALSE(vocab.is_eog(1 << 30));
  EXPECT_EQ(vocab.piece(2), "");
  EXPECT_EQ(vocab.piece(2, true), "<|im_end|>");
}

TEST(Vocab, TextSurvivesTheRoundTrip) {
  for (const std::string text :
       {"Hello, world!", "  two  spaces\n\n\ttab", "na\xC3\xAFve \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80",
        "<|im_end|> as text", ""}) {
    const std::vector<Token> tokens = embedded().tokenize(text, {});
    EXPECT_EQ(embedded().detokenize(tokens, true), text);
    TextStream stream(embedded());
    std::string streamed;
    for (const Token token : tokens) {
      const std::string part = stream.push(token);
      EXPECT_FALSE(find_invalid_utf8(part)) << text;
      streamed += part;
    }
    EXPECT_EQ(streamed + stream.flush(), text);
  }
}

TEST(Vocab, ControlTokensOnlyOnRequest) {
  const std::string text = "a<|im_end|>";
  const auto plain = embedded().tokenize(text, {});
  const auto parsed = embedded().tokenize(text, {.parse_special = true});
  EXPECT_THAT(plain, ::testing::Not(::testing::Contains(2)));
  EXPECT_THAT(parsed, ::testing::Contains(2));
}

TEST(Vocab, SaysWhichByteIsNotUtf8) {
  try {
    embedded().tokenize("abc\xFFzz", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::bad_request);
    EXPECT_THAT(error.what(), HasSubstr("byte 3 (0xff)"));
  }
  EXPECT_THROW(embedded().piece(49152), Error);
  EXPECT_THROW(embedded().piece(-1), Error);
}

// libllama's std::regex recurses once per character; "tekken" (Mistral) died of 26,000 letters, "default" of
// as many digits.
TEST(Vocab, LongRunsOfOneKindDoNotExhaustTheStack) {
  const test_support::TemporaryFolder folder;
  const std::string path = folder.file("m.gguf");
  for (const char* splitter : {"smollm", "tekken", "default", "deepseek-llm"}) {
    gguf_context* from = gguf_init_from_file(default_model().c_str(), {.no_alloc = true, .ctx = nullptr});
    gguf_context* out = gguf_init_empty();
    gguf_set_kv(out, from);
    gguf_set_val_str(out, "tokenizer.ggml.pre", splitter);
    gguf_write_to_file(out, path.c_str(), true);
    gguf_free(out);
    gguf_free(from);
    const GgufFile file(path);
    const Vocab vocab(file, Vocab::Unprobed{});
    for (const char c : {'a', '1', ' ', '!', '\n'}) {
      const std::string text(40000, c);
      EXPECT_EQ(vocab.detokenize(vocab.tokenize(text, {})), text) << splitter << " '" << c << "'";
    }
  }
}

TEST(Vocab, ThreadsTokenizeAtOnce) {
  const std::string text = "The quick brown fox jumps over the lazy dog. 1234567890";
  const auto expected = embedded().tokenize(text, {});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) EXPECT_EQ(embedded().tokenize(text, {}), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace fastcache::model
