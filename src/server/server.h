// SPDX-License-Identifier: Apache-2.0
// The whole server in one call: listens, loads the model beside it, answers until it is told to stop.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fastcache/engine.h"
#include "server/api_request.h"
#include "server/http_options.h"
#include "server/image_source.h"

namespace fastcache::server {

struct ServerOptions {
  EngineOptions engine = {};
  HttpOptions http = {};          // its keys are those of key_file and FASTCACHE_API_KEY
  ApiDefaults defaults = {};      // of requests that do not say
  ImageOptions images = {};       // where pictures may come from, and how large they may be
  std::string served_model = {};  // the model's name in the API; empty: what the file calls itself
  std::string key_file = {};      // read at the start and at each SIGHUP; empty: none
};

// Called on the server's thread.
struct ServerEvents {
  std::function<void(const std::string& url)> listening = {};  // the port is taken, the model is being loaded
  std::function<void(const std::string& url)> ready = {};      // requests are answered
};

using LoadEngine = std::function<std::unique_ptr<Engine>()>;

// Blocks; one at a time. Until the model is there all that needs it is answered 503, /health too. SIGTERM or
// SIGINT ends it when running requests have ended or drain_s is over; a second one ends it now, a third
// kills. SIGHUP reads the keys again; should that fail, the old ones stay. Returns the process's exit code.
// Throws Error: what HttpServer, read_key_file and Engine throw. load: replaces the loading of
// options.engine.
int run_server(const ServerOptions& options, const ServerEvents& events, LoadEngine load = {});

}  // namespace fastcache::server
