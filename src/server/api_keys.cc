// SPDX-License-Identifier: Apache-2.0
#include "server/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::server {
namespace {

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == text.npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

bool is_visible(char c) { return c > ' ' && c < 127; }

bool begins_with_bearer(std::string_view text) {
  constexpr std::string_view scheme = "bearer ";
  return text.size() > scheme.size() &&
         std::equal(scheme.begin(), scheme.end(), text.begin(), [](char want, char got) {
           return want == (got >= 'A' && got <= 'Z' ? got - 'A' + 'a' : got);
         });
}

void warn_if_others_may_read(const std::string& path) {
  struct stat facts = {};
  if (::stat(path.c_str(), &facts) == 0 && (facts.st_mode & (S_IRGRP | S_IROTH)) != 0) {
    log().warn("others than its owner may read the key file {}; chmod 600 would keep it private", path);
  }
}

}  // namespace

ApiKeys::ApiKeys(const std::vector<std::string>& keys) {
  for (const std::string& key : keys) digests_.push_back(digest_of(key));
}

ApiKeys::Digest ApiKeys::digest_of(std::string_view key) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

bool ApiKeys::allow(std::string_view authorization) const {
  if (!begins_with_bearer(authorization)) return false;
  const Digest shown = digest_of(trimmed(authorization.substr(7)));
  int equal = 0;  // all are compared: where the match stands would show in the time
  for (const Digest& digest : digests_)
    equal |= CRYPTO_memcmp(shown.data(), digest.data(), digest.size()) == 0;
  return equal != 0;
}

std::vector<std::string> read_key_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error{Code::io, fmt::format("key file {} cannot be read", path)};
  warn_if_others_may_read(path);
  std::vector<std::string> keys;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::string_view key = trimmed(line);
    if (key.empty() || key.front() == '#') continue;
    if (!std::all_of(key.begin(), key.end(), is_visible)) {
      throw Error{Code::bad_request,
                  fmt::format("key file {}, line {}: a key has visible ASCII characters only, no spaces",
                              path, number)};
    }
    keys.emplace_back(key);
  }
  if (file.bad()) throw Error{Code::io, fmt::format("key file {} cannot be read to its end", path)};
  if (keys.empty())
    throw Error{Code::bad_request, fmt::format("key file {} has no key; it needs one per line", path)};
  return keys;
}

}  // namespace fastcache::server
