// SPDX-License-Identifier: Apache-2.0
#include "model/gguf_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>

#include "base/error.h"
#include "model/mapped_file.h"
#include "model/models.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using ::testing::HasSubstr;

// Writes GGUF byte by byte: what a correct writer would refuse to write.
class Bytes {
 public:
  template <class T>
  Bytes& add(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& text(std::string_view text) {
    add<uint64_t>(text.size());
    bytes_ += text;
    return *this;
  }
  Bytes& header(uint64_t n_tensors, uint64_t n_keys, uint32_t version = 3) {
    bytes_ += "GGUF";
    return add<uint32_t>(version).add<uint64_t>(n_tensors).add<uint64_t>(n_keys);
  }
  Bytes& key(std::string_view name, uint32_t type) { return text(name).add<uint32_t>(type); }
  Bytes& tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    text(name).add<uint32_t>(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) add(dim);
    return add(type).add(offset);
  }
  Bytes& pad(size_t to) {
    while (bytes_.size() % to != 0) bytes_ += '\0';
    return *this;
  }
  Bytes& zeros(size_t n) {
    bytes_.append(n, '\0');
    return *this;
  }
  std::span<const std::byte> span() const { return std::as_bytes(std::span(bytes_)); }

 private:
  std::string bytes_;
};

std::string refusal(const Bytes& bytes) {
  try {
    check_gguf(bytes.span(), "f.gguf");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::invalid_model);
    EXPECT_THAT(error.what(), HasSubstr("f.gguf: byte "));
    return error.what();
  }
  return "accepted";
}

TEST(GgufCheck, AcceptsASmallFile) {
  Bytes bytes;
  bytes.header(2, 3);
  bytes.key("a", GGUF_TYPE_UINT32).add<uint32_t>(7);
  bytes.key("b", GGUF_TYPE_ARRAY).add<uint32_t>(GGUF_TYPE_STRING).add<uint64_t>(2).text("x").text("");
  bytes.key("c", GGUF_TYPE_BOOL).add<uint8_t>(1);
  bytes.tensor("t", {4, 2}, GGML_TYPE_F32, 0).tensor("u", {32}, GGML_TYPE_Q4_0, 32).pad(32).zeros(32 + 18);
  const GgufIndex index = check_gguf(bytes.span(), "f.gguf");
  ASSERT_EQ(index.keys.size(), 3u);
  EXPECT_EQ(index.keys[1].name, "b");
  EXPECT_EQ(index.keys[1].count, 2u);
  ASSERT_EQ(index.tensors.size(), 2u);
  EXPECT_EQ(index.tensors[0].bytes, 32u);
  EXPECT_EQ(index.tensors[1].bytes, 18u);
  EXPECT_EQ(index.tensors[1].offset, index.data_offset + 32);
}

TEST(GgufCheck, RefusesABrokenPreamble) {
  EXPECT_THAT(refusal(Bytes()), HasSubstr("the file is empty"));
  EXPECT_THAT(refusal(Bytes().add<uint16_t>(0x4747)), HasSubstr("cut off"));
  EXPECT_THAT(refusal(Bytes().add<uint64_t>(0x0403'0a0d'4b50)), HasSubstr("begins with 'PK\\x0d\\x0a'"));
  EXPECT_THAT(refusal(Bytes().header(0, 0, 1)), HasSubstr("version 1 is not supported; 2 and 3 are"));
  EXPECT_THAT(refusal(Bytes().header(0, 0, 4)), HasSubstr("version 4"));
  EXPECT_THAT(refusal(Bytes().header(0, 0, 0)), HasSubstr("version 0"));
  EXPECT_THAT(refusal(Bytes().header(0, 0, 0x03000000)), HasSubstr("big-endian"));
  EXPECT_THAT(refusal(Bytes().header(~0ull, 0)), HasSubstr("18446744073709551615 tensors announced"));
  EXPECT_THAT(refusal(Bytes().header(0, 1ull << 63).zeros(100)),
              HasSubstr("keys announced; this file can hold at most 7"));
}

TEST(GgufCheck, RefusesBrokenKeys) {
  const auto one = [] { return Bytes().header(0, 1); };
  EXPECT_THAT(refusal(one().text("").zeros(20)), HasSubstr("the name of key 0 is empty"));
  EXPECT_THAT(refusal(one().text(std::string_view("a\0b", 3)).zeros(20)), HasSubstr("zero byte"));
  EXPECT_THAT(refusal(one().add<uint64_t>(1ull << 62).zeros(20)), HasSubstr("at most 65535"));
  EXPECT_THAT(refusal(one().add<uint64_t>(1000).zeros(20)),
              HasSubstr("takes 1000 bytes, but the file ends after 20"));
  EXPECT_THAT(refusal(one().key("k", 13).zeros(20)), HasSubstr("key 'k' has type 13"));
  EXPECT_THAT(refusal(one().key("k", ~0u).zeros(20)), HasSubstr("type 4294967295"));
  EXPECT_THAT(refusal(one().key("k", GGUF_TYPE_UINT64).zeros(7)), HasSubstr("room for at most 0"));
  EXPECT_THAT(refusal(one().key("k", GGUF_TYPE_BOOL).add<uint8_t>(2)), HasSubstr("holds 2 as a truth value"));
  EXPECT_THAT(refusal(one().key("k", GGUF_TYPE_STRING).add<uint64_t>(1ull << 40)),
              HasSubstr("1099511627776 bytes long"));
  EXPECT_THAT(refusal(one().key("k", GGUF_TYPE_ARRAY).add<uint32_t>(GGUF_TYPE_ARRAY).zeros(20)),
              HasSubstr("array of arrays"));
  EXPECT_THAT(
      refusal(one().key("k", GGUF_TYPE_ARRAY).add<uint32_t>(GGUF_TYPE_UINT8).add<uint64_t>(~0ull).zeros(20)),
      HasSubstr("room for at most 20"));
  EXPECT_THAT(refusal(one()
                          .key("k", GGUF_TYPE_ARRAY)
                          .add<uint32_t>(GGUF_TYPE_STRING)
                          .add<uint64_t>(1ull << 60)
                          .zeros(80)),
              HasSubstr("room for at most 10"));
  Bytes twice;
  twice.header(0, 2).key("k", GGUF_TYPE_UINT32).add<uint32_t>(1).key("k", GGUF_TYPE_UINT32).add<uint32_t>(2);
  EXPECT_THAT(refusal(twice), HasSubstr("key 'k' occurs twice"));
  for (const uint32_t alignment : {0u, 3u, 4u, 1u << 30}) {
    EXPECT_THAT(refusal(one().key("general.alignment", GGUF_TYPE_UINT32).add(alignment)),
                HasSubstr("a power of two"));
  }
  EXPECT_THAT(refusal(one().key("general.alignment", GGUF_TYPE_FLOAT32).add(32.0f)),
              HasSubstr("must be one u32"));
}

TEST(GgufCheck, RefusesBrokenTensors) {
  const auto f32 = [](std::vector<uint64_t> dims, uint64_t offset = 0) {
    return Bytes().header(1, 0).tensor("t", std::move(dims), GGML_TYPE_F32, offset).pad(32).zeros(64);
  };
  EXPECT_EQ(refusal(f32({16})), "accepted");
  EXPECT_THAT(refusal(f32({17})), HasSubstr("takes 68 bytes, but the file ends after 64"));
  EXPECT_THAT(refusal(f32({})), HasSubstr("0 dimensions"));
  EXPECT_THAT(refusal(f32({1, 1, 1, 1, 1})), HasSubstr("5 dimensions"));
  EXPECT_THAT(refusal(f32({0})), HasSubstr("zero or too large"));
  EXPECT_THAT(refusal(f32({~0ull})), HasSubstr("zero or too large"));
  EXPECT_THAT(refusal(f32({1ull << 32, 1ull << 32})), HasSubstr("zero or too large"));
  EXPECT_THAT(refusal(f32({1ull << 31, 1ull << 31})), HasSubstr("more bytes than a file can have"));
  EXPECT_THAT(refusal(f32({16}, 32)), HasSubstr("data offset 32; 0 follows"));
  EXPECT_THAT(refusal(f32({16}, ~0ull)), HasSubstr("data offset 18446744073709551615"));
  for (const uint32_t type : {4u, 5u, 31u, uint32_t{GGML_TYPE_COUNT}, ~0u}) {  // 4, 5, 31: removed from ggml
    EXPECT_THAT(refusal(Bytes().header(1, 0).tensor("t", {32}, type, 0).pad(32).zeros(256)),
                HasSubstr("does not know"));
  }
  EXPECT_THAT(refusal(Bytes().header(1, 0).tensor("t", {33}, GGML_TYPE_Q8_0, 0).pad(32).zeros(256)),
              HasSubstr("a multiple of 32"));
  EXPECT_THAT(refusal(Bytes().header(1, 0).tensor(std::string(64, 'x'), {1}, 0, 0).zeros(256)),
              HasSubstr("at most 63"));
  Bytes twice;
  twice.header(2, 0).tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32).pad(32).zeros(64);
  EXPECT_THAT(refusal(twice), HasSubstr("tensor 't' occurs twice"));
}

// The tests below take a real header, the embedded model's, cut down to what is in front of the data.
std::string tiny_file() {
  const test_support::TemporaryFolder folder;
  test_support::write_tiny_model(folder.file("m.gguf"), {.n_layers = 1, .llama3_rope = true});
  const MappedFile file(folder.file("m.gguf"));
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// Copied to the heap at its exact size, so that the address sanitizer sees a read behind the end.
bool accepted(std::string_view content) {
  const std::vector<std::byte> copy(reinterpret_cast<const std::byte*>(content.data()),
                                    reinterpret_cast<const std::byte*>(content.data()) + content.size());
  try {
    check_gguf(copy, "f.gguf");
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::invalid_model);
    return false;
  }
}

TEST(GgufCheck, RefusesEveryTruncation) {
  const std::string whole = tiny_file();
  EXPECT_TRUE(accepted(whole));
  const size_t header = check_gguf(std::as_bytes(std::span(whole)), "f.gguf").data_offset;
  for (size_t n = 0; n <= header; ++n) ASSERT_FALSE(accepted(std::string_view(whole).substr(0, n))) << n;
  for (size_t n = header; n < whole.size() - GGUF_DEFAULT_ALIGNMENT; n += 997)
    ASSERT_FALSE(accepted(std::string_view(whole).substr(0, n))) << n;
}

TEST(GgufCheck, SurvivesBitFlips) {
  const std::string whole = tiny_file();
  const size_t header = check_gguf(std::as_bytes(std::span(whole)), "f.gguf").data_offset;
  std::mt19937 random(20261121);
  int refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string broken = whole;
    for (int flips = 1 + round % 3; flips > 0; --flips)
      broken[random() % header] ^= static_cast<char>(1 << random() % 8);
    if (!accepted(broken)) ++refused;
  }
  EXPECT_GT(refused, 500);  // most flips only change a token's text
}

TEST(GgufCheck, AcceptsTheEmbeddedModel) {
  const MappedFile file(default_model().string());
  EXPECT_EQ(check_gguf(file.bytes(), file.path()).tensors.size(), 272u);
}

}  // namespace
}  // namespace fastcache::model
