// SPDX-License-Identifier: Apache-2.0
#include "model/gguf_file.h"

#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/error.h"

namespace fastcache::model {
namespace {

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

bool is_integer(gguf_type type) {
  return type != GGUF_TYPE_FLOAT32 && type != GGUF_TYPE_FLOAT64 && type != GGUF_TYPE_BOOL &&
         type != GGUF_TYPE_STRING;
}

}  // namespace

GgufFile::GgufFile(const std::string& path) : file_(path), index_(check_gguf(file_.bytes(), path)) {
  for (size_t i = 0; i < index_.keys.size(); ++i) keys_.emplace(index_.keys[i].name, i);
  for (size_t i = 0; i < index_.tensors.size(); ++i) tensors_.emplace(index_.tensors[i].name, i);
  const int64_t parts = integer_or("split.count", 1, 0, 1 << 16);
  if (parts > 1) {
    throw Error{Code::unsupported,
                fmt::format("{}: this is one of {} parts of a split model; merge them first with "
                            "llama-gguf-split --merge",
                            path, parts)};
  }
}

void GgufFile::fail(const std::string& what) const {
  throw Error{Code::invalid_model, fmt::format("{}: {}", path(), what)};
}

const GgufKey* GgufFile::find(std::string_view key) const {
  const auto found = keys_.find(key);
  return found == keys_.end() ? nullptr : &index_.keys[found->second];
}

const GgufKey& GgufFile::scalar(std::string_view key, const char* expected) const {
  const GgufKey* found = find(key);
  if (found == nullptr) fail(fmt::format("key '{}' ({}) is missing", key, expected));
  if (found->is_array) fail(fmt::format("key '{}' is an array; {} was expected", key, expected));
  return *found;
}

std::string_view GgufFile::string(std::string_view key) const {
  const GgufKey& found = scalar(key, "a string");
  if (found.type != GGUF_TYPE_STRING)
    fail(fmt::format("key '{}' is {}; a string was expected", key, gguf_type_name(found.type)));
  const std::byte* at = file_.bytes().data() + found.offset;
  return {reinterpret_cast<const char*>(at + 8), load<uint64_t>(at)};
}

int64_t GgufFile::integer_at(const GgufKey& key, uint64_t i, int64_t least, int64_t most) const {
  const std::byte* at = file_.bytes().data() + key.offset;
  uint64_t large = 0;  // set only for an unsigned value that int64_t cannot hold
  int64_t value = 0;
  switch (key.type) {
    case GGUF_TYPE_UINT8:
      value = load<uint8_t>(at + i);
      break;
    case GGUF_TYPE_INT8:
      value = load<int8_t>(at + i);
      break;
    case GGUF_TYPE_UINT16:
      value = load<uint16_t>(at + 2 * i);
      break;
    case GGUF_TYPE_INT16:
      value = load<int16_t>(at + 2 * i);
      break;
    case GGUF_TYPE_UINT32:
      value = load<uint32_t>(at + 4 * i);
      break;
    case GGUF_TYPE_INT32:
      value = load<int32_t>(at + 4 * i);
      break;
    case GGUF_TYPE_INT64:
      value = load<int64_t>(at + 8 * i);
      break;
    case GGUF_TYPE_UINT64:
      large = load<uint64_t>(at + 8 * i);
      if (large <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        value = static_cast<int64_t>(std::exchange(large, 0));
      break;
    default:
      fail(fmt::format("key '{}' is {}; an integer was expected", key.name, gguf_type_name(key.type)));
  }
  if (large != 0)
    fail(fmt::format("key '{}' is {}; a value from {} to {} was expected", key.name, large, least, most));
  if (value < least || value > most)
    fail(fmt::format("key '{}' is {}; a value from {} to {} was expected", key.name, value, least, most));
  return value;
}

int64_t GgufFile::integer(std::string_view key, int64_t least, int64_t most) const {
  return integer_at(scalar(key, "an integer"), 0, least, most);
}

float GgufFile::real(std::string_view key) const {
  const GgufKey& found = scalar(key, "a number");
  const std::byte* at = file_.bytes().data() + found.offset;
  double value = 0;
  if (found.type == GGUF_TYPE_FLOAT32)
    value = load<float>(at);
  else if (found.type == GGUF_TYPE_FLOAT64)
    value = load<double>(at);
  else if (is_integer(found.type))
    value = static_cast<double>(integer_at(found, 0, -(int64_t{1} << 53), int64_t{1} << 53));
  else
    fail(fmt::format("key '{}' is {}; a number was expected", key, gguf_type_name(found.type)));
  // Checked before the conversion: a double beyond float's range would be undefined there.
  if (!(std::abs(value) <= std::numeric_limits<float>::max()))
    fail(fmt::format("key '{}' is {}; a finite number was expected", key, value));
  return static_cast<float>(value);
}

bool GgufFile::boolean(std::string_view key) const {
  const GgufKey& found = scalar(key, "true or false");
  if (found.type != GGUF_TYPE_BOOL)
    fail(fmt::format("key '{}' is {}; true or false was expected", key, gguf_type_name(found.type)));
  return load<uint8_t>(file_.bytes().data() + found.offset) != 0;
}

std::string_view GgufFile::string_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : fallback;
}

int64_t GgufFile::integer_or(std::string_view key, int64_t fallback, int64_t least, int64_t most) const {
  return has(key) ? integer(key, least, most) : fallback;
}

float GgufFile::real_or(std::string_view key, float fallback) const {
  return has(key) ? real(key) : fallback;
}

bool GgufFile::boolean_or(std::string_view key, bool fallback) const {
  return has(key) ? boolean(key) : fallback;
}

std::vector<int64_t> GgufFile::integers(std::string_view key, int64_t least, int64_t most) const {
  std::vector<int64_t> values;
  const GgufKey* found = find(key);
  if (found == nullptr) return values;
  values.reserve(found->count);
  for (uint64_t i = 0; i < found->count; ++i) values.push_back(integer_at(*found, i, least, most));
  return values;
}

std::vector<bool> GgufFile::booleans(std::string_view key) const {
  std::vector<bool> values;
  const GgufKey* found = find(key);
  for (uint64_t i = 0; found != nullptr && i < found->count; ++i)
    values.push_back(found->type == GGUF_TYPE_BOOL
                         ? load<uint8_t>(file_.bytes().data() + found->offset + i) != 0
                         : integer_at(*found, i, INT32_MIN, INT32_MAX) != 0);
  return values;
}

uint64_t GgufFile::array_length(std::string_view key) const {
  const GgufKey* found = find(key);
  if (found == nullptr) return 0;
  if (!found->is_array) fail(fmt::format("key '{}' is a single value; an array was expected", key));
  return found->count;
}

std::vector<std::string_view> GgufFile::strings(std::string_view key) const {
  std::vector<std::string_view> values;
  const GgufKey* found = find(key);
  if (found == nullptr) return values;
  if (found->type != GGUF_TYPE_STRING)
    fail(fmt::format("key '{}' holds {}; strings were expected", key, gguf_type_name(found->type)));
  const std::byte* at = file_.bytes().data() + found->offset;
  for (uint64_t i = 0; i < found->count; ++i) {
    const auto length = load<uint64_t>(at);
    values.emplace_back(reinterpret_cast<const char*>(at + 8), length);
    at += 8 + length;
  }
  return values;
}

Tensor GgufFile::tensor(std::string_view name, std::initializer_list<int64_t> dims) const {
  const auto found = tensors_.find(name);
  const std::span<const int64_t> expected(dims.begin(), dims.size());
  if (found == tensors_.end()) fail(fmt::format("tensor '{}' {} is missing", name, shape_text(expected)));
  const GgufTensor& info = index_.tensors[found->second];
  const auto n_dims = static_cast<size_t>(info.n_dims);
  const std::span<const int64_t> shape(info.dims.data(), n_dims);
  for (size_t i = 0; i < std::max(n_dims, expected.size()); ++i) {
    // Trailing dims of 1 mean nothing: [n] is [n, 1].
    if ((i < n_dims ? shape[i] : 1) != (i < expected.size() ? expected[i] : 1)) {
      fail(fmt::format("tensor '{}' has shape {}; {} was expected", name, shape_text(shape),
                       shape_text(expected)));
    }
  }
  return {info.name.c_str(), info.type, shape, file_.bytes().data() + info.offset, info.bytes};
}

std::optional<Tensor> GgufFile::optional_tensor(std::string_view name,
                                                std::initializer_list<int64_t> dims) const {
  if (!has_tensor(name)) return std::nullopt;
  return tensor(name, dims);
}

std::span<const float> Tensor::f32() const {
  if (type != GGML_TYPE_F32)
    throw Error{Code::unsupported, fmt::format("tensor '{}' has type {}; only f32 is supported for it", name,
                                               ggml_type_name(type))};
  return {static_cast<const float*>(data), bytes / sizeof(float)};
}

linear::WeightSource Tensor::weight() const {
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  const int64_t n_in = dims[0];
  const int64_t n_out = dims.size() > 1 ? dims[1] : 1;
  if (n_in > kMost || n_out > kMost)
    throw Error{Code::unsupported, fmt::format("tensor '{}' {} is too large", name, shape_text(dims))};
  return {.ggml_type = type,
          .data = data,
          .n_out = static_cast<int>(n_out),
          .n_in = static_cast<int>(n_in),
          .name = name};
}

Tensor TensorReader::take(std::string_view name, std::initializer_list<int64_t> dims) {
  taken_.emplace(name);
  return file_.tensor(name, dims);
}

std::optional<Tensor> TensorReader::take_optional(std::string_view name,
                                                  std::initializer_list<int64_t> dims) {
  taken_.emplace(name);
  return file_.optional_tensor(name, dims);
}

void TensorReader::expect_all_taken() const {
  std::string unknown;
  size_t n = 0;
  for (const GgufTensor& tensor : file_.index().tensors) {
    if (taken_.contains(tensor.name)) continue;
    if (++n <= 3) unknown += fmt::format("{}'{}'", n > 1 ? ", " : "", tensor.name);
  }
  if (n == 0) return;
  if (n > 3) unknown += fmt::format(" and {} more", n - 3);
  throw Error{Code::unsupported,
              fmt::format("{}: the model has tensors that this program does not use, so its answers would be "
                          "wrong: {}",
                          file_.path(), unknown)};
}

}  // namespace fastcache::model
