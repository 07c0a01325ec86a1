// SPDX-License-Identifier: Apache-2.0
// Files of pictures on this machine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fastcache::image {

// The file at a path, whoever asks for it: for the command line. Throws Error: not_found, io, bad_request (no
// regular file, more than max_bytes).
std::vector<uint8_t> read_file(const std::string& path, size_t max_bytes);

// The file that a request names, if it lies in `folder` or below once every link is followed: a path below
// it, an absolute path, or a file:// URL. Nothing but regular files is ever opened, and the file that is read
// is the one that was looked at. A file outside and one that is not there give the same sentence. Throws
// Error: not_found, io, bad_request.
std::vector<uint8_t> read_file_below(const std::string& folder, std::string_view path_or_url,
                                     size_t max_bytes);

}  // namespace fastcache::image
