// SPDX-License-Identifier: Apache-2.0
// For hparams.cc and hparams_families.cc: the keys of one architecture in a file's metadata, and the errors
// about them.
#pragma once

#include <spdlog/fmt/fmt.h>

#include <string>
#include <string_view>

#include "base/error.h"
#include "model/hparams.h"

namespace fastcache::model {

constexpr int64_t kMaxWidth = 1 << 18;  // far beyond any model; keeps products of two widths within int64

// Reads the keys of one architecture: "<name>.<key>".
class Keys {
 public:
  Keys(const GgufFile& file, std::string_view prefix) : file_(file), prefix_(std::string(prefix) + ".") {}

  std::string path(std::string_view key) const { return prefix_ + std::string(key); }
  bool has(std::string_view key) const { return file_.has(path(key)); }
  float real(std::string_view key) const { return file_.real(path(key)); }
  float real_or(std::string_view key, float fallback) const { return file_.real_or(path(key), fallback); }
  int integer(std::string_view key, int64_t least, int64_t most) const {
    return static_cast<int>(file_.integer(path(key), least, most));
  }
  int integer_or(std::string_view key, int fallback, int64_t least, int64_t most) const {
    return has(key) ? integer(key, least, most) : fallback;
  }

  // One value, or an array with one per layer; fallback 0 means required.
  int same_in_all_layers(std::string_view key, int fallback, int n_layers, int64_t most) const {
    const std::string name = path(key);
    const std::vector<int64_t> values = file_.integers(name, 0, most);
    if (values.empty() && fallback != 0 && !file_.has(name)) return fallback;
    if (values.empty())
      file_.fail(fmt::format("key '{}' is missing or empty; a value from 1 to {} was expected", name, most));
    if (values.size() != 1 && values.size() != static_cast<size_t>(n_layers)) {
      file_.fail(fmt::format("key '{}' has {} values; 1 or one for each of {} layers was expected", name,
                             values.size(), n_layers));
    }
    for (const int64_t value : values) {
      if (value != values.front()) unsupported(fmt::format("'{}' differs between layers", name));
    }
    if (values.front() == 0)
      file_.fail(fmt::format("key '{}' is 0; a value from 1 to {} was expected", name, most));
    return static_cast<int>(values.front());
  }

  void check_multiple(std::string_view key, int value, int of) const {
    if (value % of != 0)
      unsupported(fmt::format("'{}' is {}; multiples of {} are supported", path(key), value, of));
  }

  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error{Code::unsupported, fmt::format("{}: {}", file_.path(), what)};
  }
  [[noreturn]] void fail(const std::string& what) const { file_.fail(what); }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

// What only some architectures have: local layers, sections of RoPE, a scale of the embeddings. After the
// keys that all share.
void read_family_keys(const GgufFile& file, const Keys& keys, HParams* h);

}  // namespace fastcache::model
