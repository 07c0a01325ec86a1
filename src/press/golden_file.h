// SPDX-License-Identifier: Apache-2.0
// For tests: reads golden files, whose format tools/golden/golden_format.py says.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace fastcache::press {

struct GoldenTensor {
  std::vector<int> shape;
  std::vector<float> numbers;  // row-major

  int size(size_t dimension) const { return shape.at(dimension); }
  // The last dimension of one row; the others as one number.
  const float* row(size_t index) const { return numbers.data() + index * shape.back(); }
};

using GoldenTensors = std::map<std::string, GoldenTensor>;

namespace golden_detail {

struct Bytes {
  const char* at;
  const char* end;

  const char* take(size_t n) {
    if (static_cast<size_t>(end - at) < n) throw std::runtime_error("golden file: it ends too early");
    at += n;
    return at - n;
  }
};

inline float f32_at(const char* bytes) {
  float number;
  std::memcpy(&number, bytes, sizeof number);
  return number;
}

inline float bf16_at(const char* bytes) {
  uint16_t upper;
  std::memcpy(&upper, bytes, sizeof upper);
  return std::bit_cast<float>(uint32_t{upper} << 16);
}

// out: [n_rows, width].
inline void decode(const std::string& kind, size_t n_rows, size_t width, Bytes& bytes, float* out) {
  const size_t n = n_rows * width;
  if (kind == "f32") {
    const char* data = bytes.take(4 * n);
    for (size_t i = 0; i < n; ++i) out[i] = f32_at(data + 4 * i);
  } else if (kind == "bf16") {
    const char* data = bytes.take(2 * n);
    for (size_t i = 0; i < n; ++i) out[i] = bf16_at(data + 2 * i);
  } else if (kind == "i8") {
    const char* scales = bytes.take(4 * n_rows);
    const char* data = bytes.take(n);
    for (size_t i = 0; i < n; ++i)
      out[i] = static_cast<float>(static_cast<int8_t>(data[i])) * f32_at(scales + 4 * (i / width));
  } else if (kind == "bits") {
    const size_t row_bytes = (width + 7) / 8;
    const char* data = bytes.take(row_bytes * n_rows);
    for (size_t i = 0; i < n; ++i) {
      const auto byte = static_cast<unsigned char>(data[i / width * row_bytes + i % width / 8]);
      out[i] = static_cast<float>((byte >> (i % width % 8)) & 1);
    }
  } else {
    throw std::runtime_error("golden file: no kind '" + kind + "'");
  }
}

}  // namespace golden_detail

// Throws std::runtime_error.
inline GoldenTensors read_golden_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>{file}, {}};
  const size_t head = all.find("\n\n");
  if (!file || !all.starts_with("fastcache golden 1\n") || head == std::string::npos)
    throw std::runtime_error(path + " is no golden file; tests run in the source folder");
  golden_detail::Bytes bytes{all.data() + head + 2, all.data() + all.size()};
  std::istringstream lines(all.substr(0, head + 1));
  GoldenTensors tensors;
  std::string line, name, kind, length;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::getline(fields, name, '\t');
    std::getline(fields, kind, '\t');
    GoldenTensor& tensor = tensors[name];
    size_t n = 1;
    while (std::getline(fields, length, 'x')) {
      tensor.shape.push_back(std::stoi(length));
      n *= static_cast<size_t>(tensor.shape.back());
    }
    const auto width = static_cast<size_t>(tensor.shape.at(tensor.shape.size() - 1));
    tensor.numbers.resize(n);
    golden_detail::decode(kind, n / width, width, bytes, tensor.numbers.data());
  }
  if (bytes.at != bytes.end) throw std::runtime_error(path + ": more bytes than its lines say");
  return tensors;
}

}  // namespace fastcache::press
