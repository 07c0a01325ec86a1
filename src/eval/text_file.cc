// SPDX-License-Identifier: Apache-2.0
#include "eval/text_file.h"

#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "model/utf8.h"

namespace fastcache::eval {
namespace {

namespace fs = std::filesystem;

struct CloseGz {
  void operator()(gzFile_s* file) const { gzclose(file); }
};

// Without the character that the cut at the end may have broken.
void drop_broken_end(std::string& text) {
  const auto broken = model::find_invalid_utf8(text);
  if (broken && *broken + 4 > text.size()) text.resize(*broken);
}

}  // namespace

std::string read_text(const std::string& path, size_t most_bytes) {
  const std::unique_ptr<gzFile_s, CloseGz> file(gzopen(path.c_str(), "rb"));  // plain files, too
  if (file == nullptr) return {};
  std::string text(most_bytes, '\0');
  const int n = gzread(file.get(), text.data(), static_cast<unsigned>(most_bytes));
  if (n <= 0) return {};
  text.resize(static_cast<size_t>(n));
  drop_broken_end(text);
  if (model::find_invalid_utf8(text) || text.find('\0') != std::string::npos) return {};
  return text;
}

std::vector<std::string> files_below(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, error), end;
  for (; !error && at != end; at.increment(error)) {
    std::error_code no_file;
    if (at->symlink_status(no_file).type() == fs::file_type::regular) paths.push_back(at->path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace fastcache::eval
