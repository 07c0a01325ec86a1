// SPDX-License-Identifier: Apache-2.0
// Files of questions as JSON, read with errors that name the file, the entry and the member. Thread-safe.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace fastcache::eval {

// A whole file. Throws Error: not_found, io, bad_request (more than a GiB).
std::string read_questions_file(const std::string& path);

// where: the file, and the line if it has several. Throws Error (bad_request).
nlohmann::json parse_questions(const std::string& text, const std::string& where);

// A value and the way to it. Does not own: the JSON must outlive it. All that reads throws Error
// (bad_request).
class Entry {
 public:
  Entry(const nlohmann::json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const nlohmann::json& json() const { return *value_; }
  bool has(const std::string& member) const { return value_->is_object() && value_->contains(member); }

  Entry at(const std::string& member) const;
  Entry at(size_t index) const;
  size_t size() const;  // of a list
  std::string text() const;
  std::string text_or_number() const;
  int64_t whole_number() const;
  [[noreturn]] void refuse(const std::string& what) const;  // what it is and what would be right

 private:
  const nlohmann::json* value_;
  std::string where_;
};

// The path of a picture that an entry names below a folder. Throws Error: bad_request (a way out of the
// folder), not_found.
std::string picture_path(const std::string& folder, const std::string& name, const Entry& entry);

}  // namespace fastcache::eval
