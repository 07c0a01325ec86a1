// SPDX-License-Identifier: Apache-2.0
// `--config file.toml`: the command line's options from a file. The keys are the long names of the options,
// those of a command in a table of its name:
//
//   log = "info"
//   [serve]
//   port = 8080
//   no-prefix-cache = true
//
// What stands on the command line counts more. Tables of commands that do not run are checked for unknown
// keys and wrong types all the same.
#pragma once

#include <CLI/CLI.hpp>

namespace fastcache::cli {

// program: must outlive its parsing. Parsing then throws Error (bad_request) with file and line for a file
// that is wrong, and CLI::FileError for one that cannot be read.
void add_config_option(CLI::App& program);

}  // namespace fastcache::cli
