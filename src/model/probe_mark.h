// SPDX-License-Identifier: Apache-2.0
// Remembers in the cache folder which files a child process has tried with success. Inside model/ only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace fastcache::model {

// The name of the mark for these bytes; `what` says what was tried, and its version. Empty where there is no
// cache folder.
std::filesystem::path probe_mark(std::span<const std::byte> tried, const std::string& what);

bool is_marked(const std::filesystem::path& mark);

// Best effort: without the mark the next start just takes a little longer.
void set_mark(const std::filesystem::path& mark);

}  // namespace fastcache::model
