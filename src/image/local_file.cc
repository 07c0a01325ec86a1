// SPDX-License-Identifier: Apache-2.0
#include "image/local_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>

#include "base/error.h"

namespace fastcache::image {
namespace {

namespace fs = std::filesystem;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

[[noreturn]] void refuse_io(const std::string& shown) {
  throw Error{Code::io, fmt::format("{} cannot be read: {}", shown, std::generic_category().message(errno))};
}

std::string link_of(const Descriptor& file) { return fmt::format("/proc/self/fd/{}", file.number()); }

// file: opened with O_PATH, which has touched nothing yet.
std::vector<uint8_t> read_whole(const Descriptor& file, const std::string& shown, size_t max_bytes) {
  struct stat about {};
  if (fstat(file.number(), &about) != 0) refuse_io(shown);
  if (!S_ISREG(about.st_mode))
    throw Error{Code::bad_request, fmt::format("{} is no regular file; it must be a picture's", shown)};
  const auto refuse_size = [&] {
    throw Error{Code::bad_request, fmt::format("{} has more than {} bytes", shown, max_bytes)};
  };
  if (static_cast<uint64_t>(about.st_size) > max_bytes) refuse_size();
  const Descriptor open_file(open(link_of(file).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (open_file.number() < 0) refuse_io(shown);
  std::vector<uint8_t> bytes(static_cast<size_t>(about.st_size) + 1);  // one more, to notice that it grows
  size_t n_read = 0;
  while (n_read < bytes.size()) {
    const ssize_t n = read(open_file.number(), bytes.data() + n_read, bytes.size() - n_read);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) refuse_io(shown);
    if (n == 0) break;
    n_read += static_cast<size_t>(n);
    if (n_read > max_bytes) refuse_size();
    if (n_read == bytes.size()) bytes.resize(2 * bytes.size());
  }
  bytes.resize(n_read);
  return bytes;
}

std::optional<int> digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

// The path of a file URL (RFC 8089). Throws Error (bad_request).
std::string path_of_url(std::string_view url) {
  const auto refuse = [&](const char* why) {
    throw Error{Code::bad_request,
                fmt::format("the file URL {}; it must be like file:///folder/picture.png", why)};
  };
  std::string_view rest = url.substr(std::string_view{"file://"}.size());
  if (rest.starts_with("localhost/")) rest.remove_prefix(std::string_view{"localhost"}.size());
  if (!rest.starts_with('/')) refuse("names another machine");
  std::string path;
  for (size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] != '%') {
      path += rest[i];
      continue;
    }
    const auto high = i + 1 < rest.size() ? digit_of(rest[i + 1]) : std::nullopt;
    const auto low = i + 2 < rest.size() ? digit_of(rest[i + 2]) : std::nullopt;
    if (!high || !low) refuse("has a % that no two digits follow");
    path += static_cast<char>(*high * 16 + *low);
    i += 2;
  }
  return path;
}

[[noreturn]] void refuse_outside(const std::string& shown) {
  throw Error{Code::not_found,
              fmt::format("there is no file {} in the folder of --allow-local-images", shown)};
}

bool lies_below(const fs::path& file, const fs::path& folder) {
  const fs::path relative = file.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != "..";
}

}  // namespace

std::vector<uint8_t> read_file(const std::string& path, size_t max_bytes) {
  const Descriptor file(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (file.number() < 0 && (errno == ENOENT || errno == ENOTDIR))
    throw Error{Code::not_found, fmt::format("there is no file {}", path)};
  if (file.number() < 0) refuse_io(path);
  return read_whole(file, path, max_bytes);
}

std::vector<uint8_t> read_file_below(const std::string& folder, std::string_view path_or_url,
                                     size_t max_bytes) {
  const std::string named =
      path_or_url.starts_with("file://") ? path_of_url(path_or_url) : std::string(path_or_url);
  if (named.find('\0') != std::string::npos) refuse_outside("of that name");
  std::error_code failed;
  const fs::path root = fs::canonical(folder, failed);
  if (failed)
    throw Error{Code::io, fmt::format("the folder of --allow-local-images, {}, cannot be used: {}", folder,
                                      failed.message())};
  // The system follows the links, and then says where it has come to: nothing can change in between.
  const Descriptor file(open((root / named).c_str(), O_PATH | O_CLOEXEC));
  if (file.number() < 0) refuse_outside(named);
  const fs::path real = fs::read_symlink(link_of(file), failed);
  if (failed || !lies_below(real, root)) refuse_outside(named);
  return read_whole(file, named, max_bytes);
}

}  // namespace fastcache::image
