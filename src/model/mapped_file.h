// SPDX-License-Identifier: Apache-2.0
// A regular file mapped read-only. Its bytes stay where they are for the object's life, moves included; any
// thread may read them. Whoever shortens the file meanwhile kills the process (SIGBUS): replace model files,
// don't edit them.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace fastcache::model {

class MappedFile {
 public:
  // Throws Error: not_found, bad_request (not a regular file) or io. An empty file gives an empty span.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace fastcache::model
