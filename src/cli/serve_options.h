// SPDX-License-Identifier: Apache-2.0
// `fastcache serve`: its options.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "server/server.h"

namespace fastcache::cli {

// What the options fill. Complete after finish().
struct ServeOptions {
  server::ServerOptions server;
  std::string kv_compression;  // as in a request's field
};

void add_serve_options(CLI::App& command, ServeOptions& options);

// What can be found wrong without the model. Throws Error.
void finish(ServeOptions& options);

}  // namespace fastcache::cli
