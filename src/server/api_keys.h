// SPDX-License-Identifier: Apache-2.0
// The keys that clients show as "Authorization: Bearer <key>".
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace fastcache::server {

class ApiKeys {
 public:
  ApiKeys() = default;
  explicit ApiKeys(const std::vector<std::string>& keys);

  bool any() const { return !digests_.empty(); }
  // The time that this takes tells nothing about the keys. `authorization`: the header's value.
  bool allow(std::string_view authorization) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest digest_of(std::string_view key);
  std::vector<Digest> digests_;  // so that all comparisons are equally long, and a core dump shows no key
};

// One key per line; blank lines and those that begin with '#' are left out. Warns in the log where others
// than the owner may read the file. Throws Error: io if it cannot be read, bad_request if a key has spaces or
// bytes that no header can carry (the line's number, never the key), or if there is none.
std::vector<std::string> read_key_file(const std::string& path);

}  // namespace fastcache::server
