// SPDX-License-Identifier: Apache-2.0
#include "model/probe_mark.h"

#include <fstream>
#include <system_error>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "model/models.h"

namespace fastcache::model {

namespace fs = std::filesystem;

fs::path probe_mark(std::span<const std::byte> tried, const std::string& what) {
  try {
    const uint64_t seed = hash64(std::as_bytes(std::span(what)));
    return cache_folder() / "probed" / to_hex(hash128(tried, seed));
  } catch (const Error&) {
    return {};
  }
}

bool is_marked(const fs::path& mark) {
  std::error_code ignored;
  return !mark.empty() && fs::exists(mark, ignored);
}

void set_mark(const fs::path& mark) {
  if (mark.empty()) return;
  std::error_code ignored;
  fs::create_directories(mark.parent_path(), ignored);
  if (!std::ofstream(mark).good()) log().debug("cannot write {}", mark.string());
}

}  // namespace fastcache::model
