// SPDX-License-Identifier: Apache-2.0
#include "server/api.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <chrono>
#include <span>

#include "base/hash.h"
#include "model/utf8.h"
#include "server/api_error.h"

namespace fastcache::server {
namespace {

ApiOptions with_name(ApiOptions options, const ModelFacts& facts) {
  if (options.model_name.empty()) options.model_name = facts.name;
  return options;
}

std::string fingerprint_of(const ModelFacts& facts) {
  const std::string identity = fmt::format("{} {} {} {} {}", FASTCACHE_VERSION, facts.name, facts.n_vocab,
                                           facts.n_layers, facts.kv_bytes_per_token);
  const Hash128 hash = hash128(std::as_bytes(std::span{identity}));
  return fmt::format("fp_{:010x}", hash.low & 0xFFFFFFFFFF);
}

}  // namespace

int64_t seconds_since_1970() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

Api::Api(Engine& engine, boost::asio::io_context& io, ApiOptions options)
    : engine_(engine),
      io_(io),
      options_(with_name(std::move(options), engine.model())),
      fingerprint_(fingerprint_of(engine.model())),
      started_(seconds_since_1970()),
      metrics_(std::make_shared<Metrics>(options_.model_name)),
      images_(io, options_.images, options_.image_seams) {}

Api::~Api() { worker_.join(); }

void Api::check_model(std::string_view name) const {
  const std::vector<std::string>& aliases = options_.aliases;
  if (name.empty() || name == options_.model_name) return;
  if (std::find(aliases.begin(), aliases.end(), name) != aliases.end()) return;
  ApiError error{Code::not_found,
                 fmt::format("the model '{}' does not exist; this server has '{}'", model::displayable(name),
                             options_.model_name),
                 "model"};
  error.api_code = "model_not_found";
  throw error;
}

}  // namespace fastcache::server
