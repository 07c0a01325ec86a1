// SPDX-License-Identifier: Apache-2.0
#include "model/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <functional>
#include <memory>

#include "base/error.h"
#include "model/models.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using test_support::TemporaryFolder;
using ::testing::HasSubstr;

void expect_error(Code code, const std::string& says, const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected: " << says;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(says));
  }
}

TEST(GgufFile, SaysWhyThereIsNoFile) {
  const TemporaryFolder folder;
  expect_error(Code::not_found, "nothing.gguf does not exist",
               [&] { GgufFile(folder.file("nothing.gguf")); });
  expect_error(Code::not_found, "does not exist", [] { GgufFile(""); });
  expect_error(Code::bad_request, "is a directory", [&] { GgufFile(folder.path().string()); });
  expect_error(Code::bad_request, "no regular file", [] { GgufFile("/dev/zero"); });
  ASSERT_EQ(mkfifo(folder.file("pipe").c_str(), 0600), 0);
  expect_error(Code::bad_request, "no regular file",
               [&] { GgufFile(folder.file("pipe")); });  // and does not wait
  std::ofstream(folder.file("empty.gguf")).close();
  expect_error(Code::invalid_model, "the file is empty", [&] { GgufFile(folder.file("empty.gguf")); });
  std::ofstream(folder.file("text.gguf")) << "Dear Sir or Madam,";
  expect_error(Code::invalid_model, "begins with 'Dear'", [&] { GgufFile(folder.file("text.gguf")); });
}

// One key of each type, and a tensor.
GgufFile sample(const TemporaryFolder& folder) {
  const std::unique_ptr<gguf_context, decltype(&gguf_free)> out(gguf_init_empty(), gguf_free);
  gguf_set_val_u8(out.get(), "u8", 255);
  gguf_set_val_i8(out.get(), "i8", -128);
  gguf_set_val_u16(out.get(), "u16", 65535);
  gguf_set_val_i16(out.get(), "i16", -32768);
  gguf_set_val_u32(out.get(), "u32", 4294967295u);
  gguf_set_val_i64(out.get(), "i64", -5000000000);
  gguf_set_val_u64(out.get(), "u64", ~0ull);
  gguf_set_val_f32(out.get(), "f32", 1.5f);
  gguf_set_val_f64(out.get(), "f64", 1e300);
  gguf_set_val_bool(out.get(), "bool", true);
  gguf_set_val_str(out.get(), "text", "hello");
  const uint16_t numbers[] = {1, 2, 3};
  gguf_set_arr_data(out.get(), "numbers", GGUF_TYPE_UINT16, numbers, 3);
  const char* words[] = {"a", "", "ccc"};
  gguf_set_arr_str(out.get(), "words", words, 3);
  const std::unique_ptr<ggml_context, decltype(&ggml_free)> tensors(
      ggml_init({.mem_size = 1 << 16, .mem_buffer = nullptr, .no_alloc = false}), ggml_free);
  ggml_tensor* matrix = ggml_new_tensor_2d(tensors.get(), GGML_TYPE_F32, 3, 2);
  ggml_set_name(matrix, "matrix");
  for (int i = 0; i < 6; ++i) static_cast<float*>(matrix->data)[i] = static_cast<float>(i);
  gguf_add_tensor(out.get(), matrix);
  ggml_tensor* half = ggml_new_tensor_1d(tensors.get(), GGML_TYPE_F16, 4);
  ggml_set_name(half, "half");
  gguf_add_tensor(out.get(), half);
  gguf_write_to_file(out.get(), folder.file("s.gguf").c_str(), false);
  return GgufFile(folder.file("s.gguf"));
}

TEST(GgufFile, ReadsEveryType) {
  const TemporaryFolder folder;
  const GgufFile file = sample(folder);
  constexpr int64_t kAny = int64_t{1} << 40;
  EXPECT_EQ(file.integer("u8", 0, kAny), 255);
  EXPECT_EQ(file.integer("i8", -kAny, kAny), -128);
  EXPECT_EQ(file.integer("u16", 0, kAny), 65535);
  EXPECT_EQ(file.integer("i16", -kAny, kAny), -32768);
  EXPECT_EQ(file.integer("u32", 0, kAny), 4294967295);
  EXPECT_EQ(file.integer("i64", -kAny, kAny), -5000000000);
  EXPECT_EQ(file.real("f32"), 1.5f);
  EXPECT_EQ(file.real("u8"), 255.0f);
  EXPECT_TRUE(file.boolean("bool"));
  EXPECT_EQ(file.string("text"), "hello");
  EXPECT_THAT(file.integers("numbers", 0, 9), ::testing::ElementsAre(1, 2, 3));
  EXPECT_THAT(file.strings("words"), ::testing::ElementsAre("a", "", "ccc"));
  EXPECT_EQ(file.array_length("words"), 3u);
  EXPECT_EQ(file.integer_or("absent", 7, 0, 9), 7);
  EXPECT_EQ(file.string_or("absent", "x"), "x");
  EXPECT_TRUE(file.integers("absent", 0, 9).empty());
  EXPECT_EQ(file.array_length("absent"), 0u);
}

TEST(GgufFile, NamesTheKeyThatIsWrong) {
  const TemporaryFolder folder;
  const GgufFile file = sample(folder);
  const Code code = Code::invalid_model;
  expect_error(code, "key 'absent' (an integer) is missing", [&] { file.integer("absent", 0, 9); });
  expect_error(code, "key 'u8' is 255; a value from 0 to 9 was expected", [&] { file.integer("u8", 0, 9); });
  expect_error(code, "key 'u64' is 18446744073709551615", [&] { file.integer("u64", 0, 9); });
  expect_error(code, "key 'text' is str; an integer was expected", [&] { file.integer_or("text", 1, 0, 9); });
  expect_error(code, "key 'f32' is f32; an integer was expected", [&] { file.integer("f32", 0, 9); });
  expect_error(code, "key 'numbers' is an array", [&] { file.integer("numbers", 0, 9); });
  expect_error(code, "key 'numbers' is 3; a value from 0 to 2", [&] { file.integers("numbers", 0, 2); });
  expect_error(code, "key 'f64' is 1e+300; a finite number", [&] { file.real("f64"); });
  expect_error(code, "key 'text' is str; a number", [&] { file.real("text"); });
  expect_error(code, "key 'u8' is u8; a string", [&] { file.string("u8"); });
  expect_error(code, "key 'u8' is u8; true or false", [&] { file.boolean("u8"); });
  expect_error(code, "key 'numbers' holds u16; strings", [&] { file.strings("numbers"); });
  expect_error(code, "key 'text' is a single value", [&] { file.array_length("text"); });
}

TEST(GgufFile, GivesTensorsOfTheExpectedShape) {
  const TemporaryFolder folder;
  const GgufFile file = sample(folder);
  const Tensor matrix = file.tensor("matrix", {3, 2});
  EXPECT_THAT(matrix.f32(), ::testing::ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(matrix.weight().n_in, 3);
  EXPECT_EQ(matrix.weight().n_out, 2);
  EXPECT_STREQ(matrix.weight().name, "matrix");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(matrix.data) % 32, 0u);
  EXPECT_FALSE(file.optional_tensor("absent", {1}).has_value());
  expect_error(Code::invalid_model, "tensor 'matrix' has shape [3, 2]; [2, 3] was expected", [&] {
    file.tensor("matrix", {2, 3});
  });
  expect_error(Code::invalid_model, "[3, 2, 2] was expected", [&] {
    file.optional_tensor("matrix", {3, 2, 2});
  });
  expect_error(Code::invalid_model, "tensor 'absent' [5] is missing", [&] { file.tensor("absent", {5}); });
  expect_error(Code::unsupported, "tensor 'half' has type f16",
               [&] { (void)file.tensor("half", {4}).f32(); });
}

TEST(GgufFile, NoTensorIsOverlooked) {
  const TemporaryFolder folder;
  const GgufFile file = sample(folder);
  TensorReader reader(file);
  reader.take("matrix", {3, 2});
  expect_error(Code::unsupported, "'half'", [&] { reader.expect_all_taken(); });
  reader.take_optional("half", {4});
  reader.expect_all_taken();
}

TEST(GgufFile, RefusesOnePartOfASplitModel) {
  const TemporaryFolder folder;
  const std::unique_ptr<gguf_context, decltype(&gguf_free)> out(gguf_init_empty(), gguf_free);
  gguf_set_val_u16(out.get(), "split.count", 3);
  gguf_write_to_file(out.get(), folder.file("s.gguf").c_str(), true);
  expect_error(Code::unsupported, "one of 3 parts", [&] { GgufFile(folder.file("s.gguf")); });
}

TEST(GgufFile, MayBeMoved) {
  const TemporaryFolder folder;
  GgufFile file = sample(folder);
  const Tensor before = file.tensor("matrix", {3, 2});
  const GgufFile moved = std::move(file);
  EXPECT_EQ(moved.string("text"), "hello");
  EXPECT_EQ(moved.tensor("matrix", {3, 2}).data, before.data);
  EXPECT_STREQ(before.name, "matrix");
}

}  // namespace
}  // namespace fastcache::model
