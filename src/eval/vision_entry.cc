// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_entry.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "image/local_file.h"

namespace fastcache::eval {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kMostFileBytes = size_t{1} << 30;

}  // namespace

std::string read_questions_file(const std::string& path) {
  const std::vector<uint8_t> bytes = image::read_file(path, kMostFileBytes);
  return {bytes.begin(), bytes.end()};
}

Json parse_questions(const std::string& text, const std::string& where) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw Error{Code::bad_request, fmt::format("{}: this is not JSON (byte {})", where, error.byte)};
  }
}

Entry Entry::at(const std::string& member) const {
  if (!value_->is_object()) refuse("it must be an object");
  const auto found = value_->find(member);
  if (found == value_->end()) refuse(fmt::format("it has no \"{}\"", member));
  return {*found, fmt::format("{}, \"{}\"", where_, member)};
}

Entry Entry::at(size_t index) const {
  if (index >= size())
    refuse(fmt::format("it has {} elements; there must be at least {}", size(), index + 1));
  return {(*value_)[index], fmt::format("{}, element {}", where_, index)};
}

size_t Entry::size() const {
  if (!value_->is_array()) refuse("it must be a list");
  return value_->size();
}

std::string Entry::text() const {
  if (!value_->is_string()) refuse("it must be a text");
  return value_->get<std::string>();
}

std::string Entry::text_or_number() const { return value_->is_number() ? value_->dump() : text(); }

int64_t Entry::whole_number() const {
  if (!value_->is_number_integer()) refuse("it must be a whole number");
  return value_->get<int64_t>();
}

void Entry::refuse(const std::string& what) const {
  throw Error{Code::bad_request, fmt::format("{}: {}", where_, what)};
}

std::string picture_path(const std::string& folder, const std::string& name, const Entry& entry) {
  const fs::path relative(name);
  if (name.empty() || name.find('\0') != std::string::npos || relative.is_absolute() ||
      std::find(relative.begin(), relative.end(), "..") != relative.end())
    entry.refuse(fmt::format("the picture '{}' must be a path below {}", name, folder));
  const std::string path = (fs::path(folder) / relative).string();
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored))
    throw Error{Code::not_found, fmt::format("{}: there is no picture {}", entry.where(), path)};
  return path;
}

}  // namespace fastcache::eval
