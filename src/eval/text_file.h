// SPDX-License-Identifier: Apache-2.0
// Files as text: plain or packed with gzip. Thread-safe: no state.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace fastcache::eval {

// The first bytes of a file, unpacked if its name ends in .gz; cut between characters. Empty where it cannot
// be read or is no UTF-8 text: a folder may hold anything.
std::string read_text(const std::string& path, size_t most_bytes);

// Regular files below a folder, ordered by path; links are not followed. What may not be read is left out.
std::vector<std::string> files_below(const std::string& folder);

}  // namespace fastcache::eval
