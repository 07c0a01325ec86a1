// SPDX-License-Identifier: Apache-2.0
#include "model/mapped_file.h"

#include <fcntl.h>
#include <spdlog/fmt/fmt.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace fastcache::model {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

struct Descriptor {
  int fd;
  ~Descriptor() { close(fd); }
};

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  // Not blocking: a named pipe would wait for a writer before we could see that it is no regular file.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR)
      throw Error{Code::not_found, fmt::format("model file {} does not exist", path)};
    throw Error{Code::io, fmt::format("model file {} cannot be opened: {}", path, reason(error))};
  }
  const Descriptor closer{fd};
  struct stat info {};
  if (fstat(fd, &info) != 0) throw Error{Code::io, fmt::format("model file {}: {}", path, reason(errno))};
  if (S_ISDIR(info.st_mode))
    throw Error{Code::bad_request, fmt::format("{} is a directory; give the path of a GGUF file", path)};
  if (!S_ISREG(info.st_mode))
    throw Error{Code::bad_request, fmt::format("{} is no regular file; give the path of a GGUF file", path)};
  if (info.st_size == 0) return;
  const auto size = static_cast<size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED)
    throw Error{Code::io, fmt::format("model file {} cannot be mapped: {}", path, reason(errno))};
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace fastcache::model
