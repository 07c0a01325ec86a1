// SPDX-License-Identifier: Apache-2.0
#include "model/gguf_check.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "model/gguf_cursor.h"

namespace fastcache::model {
namespace {

static_assert(std::endian::native == std::endian::little, "values are read as they lie in the file");

// The format allows more; no real model comes near, and a hostile file must not make us allocate much.
constexpr uint64_t kMaxKeyLength = 65535;
constexpr uint64_t kMaxStringLength = uint64_t{64} << 20;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
constexpr uint64_t kMaxKeys = uint64_t{1} << 16;
constexpr uint64_t kMaxTensors = uint64_t{1} << 20;
// The fewest bytes that one entry of each kind takes: a count beyond remaining / fewest cannot be true.
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

class Reader : private GgufCursor {
 public:
  using GgufCursor::GgufCursor;

  GgufIndex read();

 private:
  void preamble(uint64_t* n_tensors, uint64_t* n_keys);
  gguf_type value_type(const std::string& what);
  GgufKey key(uint64_t number);
  void values(const GgufKey& key, const std::string& what);
  void alignment();
  GgufTensor tensor(uint64_t number);
  void shape(GgufTensor* tensor, const std::string& what);
  void place_data();

  GgufIndex index_;
};

void Reader::preamble(uint64_t* n_tensors, uint64_t* n_keys) {
  if (size() == 0) fail(0, "the file is empty; a GGUF model was expected");
  const uint64_t magic = skip(4, "the magic number");
  const std::string_view found(reinterpret_cast<const char*>(data(magic)), 4);
  if (found != "GGUF")
    fail(0, fmt::format("the file begins with '{}', not with 'GGUF': it is no GGUF model", printable(found)));
  index_.version = value<uint32_t>("the version");
  if (index_.version != 0 && (index_.version & 0xffffU) == 0) {
    fail(4, "the file is big-endian; only little-endian GGUF is supported");
  }
  if (index_.version < 2 || index_.version > GGUF_VERSION) {
    fail(4, fmt::format("GGUF version {} is not supported; 2 and 3 are", index_.version));
  }
  *n_tensors = value<uint64_t>("the number of tensors");
  *n_keys = value<uint64_t>("the number of keys");
  const uint64_t most_tensors = std::min(kMaxTensors, remaining() / kMinTensorBytes);
  if (*n_tensors > most_tensors)
    fail(8, fmt::format("{} tensors announced; this file can hold at most {}", *n_tensors, most_tensors));
  const uint64_t most_keys = std::min(kMaxKeys, remaining() / kMinKeyBytes);
  if (*n_keys > most_keys)
    fail(16, fmt::format("{} keys announced; this file can hold at most {}", *n_keys, most_keys));
}

gguf_type Reader::value_type(const std::string& what) {
  const uint64_t begin = at();
  const auto type = value<uint32_t>("the type of " + what);
  if (type >= GGUF_TYPE_COUNT)
    fail(begin, fmt::format("{} has type {}; types go from 0 to {}", what, type, GGUF_TYPE_COUNT - 1));
  return static_cast<gguf_type>(type);
}

GgufKey Reader::key(uint64_t number) {
  GgufKey key;
  key.name = name(kMaxKeyLength, fmt::format("the name of key {}", number));
  const std::string what = fmt::format("key '{}'", printable(key.name));
  key.type = value_type(what);
  if (key.type == GGUF_TYPE_ARRAY) {
    key.is_array = true;
    const uint64_t begin = at();
    key.type = value_type("the elements of " + what);
    if (key.type == GGUF_TYPE_ARRAY)
      fail(begin, what + " is an array of arrays; only flat arrays are supported");
    key.count = value<uint64_t>("the length of " + what);
  }
  values(key, what);
  return key;
}

size_t element_bytes(gguf_type type) {
  switch (type) {
    case GGUF_TYPE_UINT8:
    case GGUF_TYPE_INT8:
    case GGUF_TYPE_BOOL:
      return 1;
    case GGUF_TYPE_UINT16:
    case GGUF_TYPE_INT16:
      return 2;
    case GGUF_TYPE_UINT32:
    case GGUF_TYPE_INT32:
    case GGUF_TYPE_FLOAT32:
      return 4;
    default:
      return 8;  // 64-bit numbers, and a string's length
  }
}

void Reader::values(const GgufKey& key, const std::string& what) {
  const uint64_t most = remaining() / element_bytes(key.type);
  if (key.count > most) {
    fail(at(), fmt::format("{} has {} elements, but the file has room for at most {} before its end", what,
                           key.count, most));
  }
  index_.keys.push_back(key);
  index_.keys.back().offset = at();
  if (key.type == GGUF_TYPE_STRING) {
    const std::string element = key.is_array ? "a string of " + what : what;
    for (uint64_t i = 0; i < key.count; ++i) skip_string(kMaxStringLength, element);
    return;
  }
  const uint64_t begin = skip(key.count * element_bytes(key.type), what);
  if (key.type != GGUF_TYPE_BOOL) return;
  for (uint64_t i = 0; i < key.count; ++i) {
    const int byte = std::to_integer<int>(*data(begin + i));
    if (byte > 1)
      fail(begin + i, fmt::format("{} holds {} as a truth value; 0 and 1 are allowed", what, byte));
  }
}

void Reader::alignment() {
  index_.alignment = GGUF_DEFAULT_ALIGNMENT;
  for (const GgufKey& key : index_.keys) {
    if (key.name != GGUF_KEY_GENERAL_ALIGNMENT) continue;
    if (key.is_array || key.type != GGUF_TYPE_UINT32)
      fail(key.offset, "key 'general.alignment' must be one u32");
    uint32_t alignment;
    std::memcpy(&alignment, data(key.offset), sizeof alignment);
    if (!std::has_single_bit(alignment) || alignment < 8 || alignment > kMaxAlignment) {
      fail(key.offset, fmt::format("key 'general.alignment' is {}; a power of two from 8 to {} is right",
                                   alignment, kMaxAlignment));
    }
    index_.alignment = alignment;
  }
}

GgufTensor Reader::tensor(uint64_t number) {
  GgufTensor tensor;
  tensor.name = name(GGML_MAX_NAME - 1, fmt::format("the name of tensor {}", number));
  const std::string what = fmt::format("tensor '{}'", printable(tensor.name));
  shape(&tensor, what);
  tensor.offset = value<uint64_t>("the data offset of " + what);
  return tensor;
}

// The type decides how many bytes a row has, so that both are checked together.
void Reader::shape(GgufTensor* tensor, const std::string& what) {
  const uint64_t begin = at();
  const auto n_dims = value<uint32_t>("the number of dimensions of " + what);
  if (n_dims < 1 || n_dims > GGML_MAX_DIMS)
    fail(begin, fmt::format("{} has {} dimensions; 1 to {} are allowed", what, n_dims, GGML_MAX_DIMS));
  tensor->n_dims = static_cast<int>(n_dims);
  uint64_t elements = 1;
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  for (uint32_t i = 0; i < n_dims; ++i) {
    const auto dim = value<uint64_t>("a dimension of " + what);
    if (dim == 0 || dim > kMost / elements)
      fail(at() - 8, fmt::format("dimension {} of {} is {}, which is zero or too large", i, what, dim));
    elements *= dim;
    tensor->dims[i] = static_cast<int64_t>(dim);
  }
  const auto type = value<uint32_t>("the type of " + what);
  const uint64_t block = type < GGML_TYPE_COUNT ? ggml_blck_size(static_cast<ggml_type>(type)) : 0;
  const uint64_t block_bytes = block != 0 ? ggml_type_size(static_cast<ggml_type>(type)) : 0;
  if (block_bytes == 0)
    fail(at() - 4, fmt::format("{} has type {}, which this version of ggml does not know", what, type));
  tensor->type = static_cast<ggml_type>(type);
  if (static_cast<uint64_t>(tensor->dims[0]) % block != 0) {
    fail(begin, fmt::format("{} has rows of {} elements; type {} needs a multiple of {}", what,
                            tensor->dims[0], ggml_type_name(tensor->type), block));
  }
  if (elements / block > kMost / block_bytes) fail(begin, what + " has more bytes than a file can have");
  tensor->bytes = elements / block * block_bytes;
}

// ggml wants the tensors in the file's order, each at the next aligned offset. Any other place is an error to
// it, so nothing can overlap.
void Reader::place_data() {
  const auto aligned = [&](uint64_t n) { return (n + index_.alignment - 1) & ~(index_.alignment - 1); };
  if (index_.tensors.empty()) {
    index_.data_offset = at();
    return;
  }
  index_.data_offset = aligned(at());
  uint64_t expected = 0;
  for (GgufTensor& tensor : index_.tensors) {
    const std::string what = fmt::format("tensor '{}'", printable(tensor.name));
    if (tensor.offset != expected) {
      fail(index_.data_offset, fmt::format("{} has data offset {}; {} follows from the tensors before it",
                                           what, tensor.offset, expected));
    }
    const uint64_t begin = index_.data_offset + tensor.offset;
    if (begin > size() || tensor.bytes > size() - begin) {
      const uint64_t there = begin > size() ? 0 : size() - begin;
      fail(begin,
           fmt::format(
               "the data of {} {} takes {} bytes, but the file ends after {}; the download may be incomplete",
               what, shape_text(std::span(tensor.dims).first(static_cast<size_t>(tensor.n_dims))),
               tensor.bytes, there));
    }
    tensor.offset = begin;
    expected = aligned(expected + tensor.bytes);
  }
}

GgufIndex Reader::read() {
  uint64_t n_tensors = 0;
  uint64_t n_keys = 0;
  preamble(&n_tensors, &n_keys);
  std::unordered_set<std::string_view> names;
  for (uint64_t i = 0; i < n_keys; ++i) {
    const uint64_t begin = at();
    const GgufKey found = key(i);
    if (!names.insert(found.name).second)
      fail(begin, fmt::format("key '{}' occurs twice", printable(found.name)));
  }
  alignment();
  index_.tensors.reserve(n_tensors);  // stable addresses for the views in names
  names.clear();
  for (uint64_t i = 0; i < n_tensors; ++i) {
    const uint64_t begin = at();
    index_.tensors.push_back(tensor(i));
    const std::string& added = index_.tensors.back().name;
    if (!names.insert(added).second) fail(begin, fmt::format("tensor '{}' occurs twice", printable(added)));
  }
  place_data();
  return std::move(index_);
}

}  // namespace

GgufIndex check_gguf(std::span<const std::byte> file, const std::string& path) {
  return Reader(file, path).read();
}

std::string shape_text(std::span<const int64_t> dims) { return fmt::format("[{}]", fmt::join(dims, ", ")); }

}  // namespace fastcache::model
