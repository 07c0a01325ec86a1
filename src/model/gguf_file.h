// SPDX-License-Identifier: Apache-2.0
// A GGUF file, checked and mapped: typed metadata and tensors in place. Immutable; any thread may read it.
// Metadata is read from the index that check_gguf proved, not by ggml's reader: that one aborts on a wrong
// type.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "linear/linear.h"
#include "model/gguf_check.h"
#include "model/mapped_file.h"

namespace fastcache::model {

// A tensor in the mapped file. Valid as long as its GgufFile.
struct Tensor {
  const char* name = "";
  ggml_type type = GGML_TYPE_F32;
  std::span<const int64_t> dims;  // dims[0]: elements of a row (a weight's n_in), dims[1]: rows (n_out)
  const void* data = nullptr;
  size_t bytes = 0;

  // Only for type F32; else Error (unsupported). Norms, biases and rope factors.
  std::span<const float> f32() const;
  linear::WeightSource weight() const;  // a matrix: two dims
};

class GgufFile {
 public:
  // Throws Error: not_found, io, bad_request, invalid_model; unsupported for one part of a split model.
  explicit GgufFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  uint64_t bytes() const { return file_.bytes().size(); }
  const GgufIndex& index() const { return index_; }
  // Everything before the tensors' data: what decides how libllama's vocabulary loader behaves.
  std::span<const std::byte> header() const { return file_.bytes().first(index_.data_offset); }

  // Of every byte: who the file is. Reads it all.
  Hash128 content_hash() const { return hash128(file_.bytes()); }

  bool has(std::string_view key) const { return find(key) != nullptr; }

  // Required keys. Throw Error (invalid_model) that names the key and what was expected. Integers and floats
  // are accepted in every width; an integer outside [least, most] is an error.
  std::string_view string(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t least, int64_t most) const;
  float real(std::string_view key) const;  // finite
  bool boolean(std::string_view key) const;

  // Optional keys: the fallback if the key is absent; wrong types and values still throw.
  std::string_view string_or(std::string_view key, std::string_view fallback) const;
  int64_t integer_or(std::string_view key, int64_t fallback, int64_t least, int64_t most) const;
  float real_or(std::string_view key, float fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;

  // A scalar counts as an array of one. Absent: empty.
  std::vector<int64_t> integers(std::string_view key, int64_t least, int64_t most) const;
  std::vector<bool> booleans(std::string_view key) const;  // the same; integers count as not 0
  uint64_t array_length(std::string_view key) const;       // 0 if absent
  std::vector<std::string_view> strings(std::string_view key) const;

  bool has_tensor(std::string_view name) const { return tensors_.contains(name); }
  // The tensor with exactly these dims; throws Error (invalid_model) naming tensor, expected and found shape.
  Tensor tensor(std::string_view name, std::initializer_list<int64_t> dims) const;
  std::optional<Tensor> optional_tensor(std::string_view name, std::initializer_list<int64_t> dims) const;

  // The message of an error in this file: "path: what".
  [[noreturn]] void fail(const std::string& what) const;

 private:
  const GgufKey* find(std::string_view key) const;
  const GgufKey& scalar(std::string_view key, const char* expected) const;
  int64_t integer_at(const GgufKey& key, uint64_t i, int64_t least, int64_t most) const;

  MappedFile file_;
  GgufIndex index_;
  std::unordered_map<std::string_view, size_t> keys_;     // into index_.keys
  std::unordered_map<std::string_view, size_t> tensors_;  // into index_.tensors
};

// Takes a model's tensors one by one and can prove that none was overlooked: a bias that the graph does not
// add would make wrong answers, not an error.
class TensorReader {
 public:
  explicit TensorReader(const GgufFile& file) : file_(file) {}
  Tensor take(std::string_view name, std::initializer_list<int64_t> dims);
  std::optional<Tensor> take_optional(std::string_view name, std::initializer_list<int64_t> dims);
  // Throws Error (unsupported) that names tensors which nobody took.
  void expect_all_taken() const;

 private:
  const GgufFile& file_;
  std::set<std::string, std::less<>> taken_;
};

}  // namespace fastcache::model
