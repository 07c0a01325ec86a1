// SPDX-License-Identifier: Apache-2.0
#include "server/state_json.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "press/registry.h"

namespace fastcache::server {
namespace {

using Json = nlohmann::ordered_json;

// Tenths are finer than a page can show, and keep the text short.
double tenths(double value) { return std::round(value * 10.0) / 10.0; }

// What came from outside (a model's name in its file, a path) need not be UTF-8.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json model_json(const ModelFacts& model) {
  return {{"name", model.name},
          {"context_tokens", model.context_tokens},
          {"n_vocab", model.n_vocab},
          {"n_layers", model.n_layers},
          {"kv_bytes_per_token", model.kv_bytes_per_token}};
}

Json pool_json(const EngineStats& stats) {
  return {{"total_bytes", stats.pool_bytes},    {"prefill_bytes", stats.prefill_bytes},
          {"decode_bytes", stats.decode_bytes}, {"compressed_bytes", stats.compressed_bytes},
          {"shared_bytes", stats.shared_bytes}, {"prefix_cached_bytes", stats.prefix_cached_bytes},
          {"free_bytes", stats.free_bytes}};
}

Json queues_json(const EngineStats& stats) {
  return {{"waiting", stats.waiting},
          {"running", stats.running},
          {"prefill", stats.prefilling},
          {"compress", stats.compressing},
          {"decode", stats.decoding}};
}

Json totals_json(const EngineStats& stats, std::span<const RequestFigures> requests) {
  int64_t generated = stats.generated_tokens;
  for (const RequestFigures& request : requests) generated += request.generated_tokens;
  return {{"steps", stats.steps},
          {"preemptions", stats.preemptions},
          {"prompt_tokens", stats.prompt_tokens},
          {"cached_tokens", stats.cached_tokens},
          {"generated_tokens", generated}};
}

Json request_json(const RequestFigures& request) {
  return {{"id", request.id},
          {"stage", request.stage},
          {"press", request.press},
          {"prompt_tokens", request.prompt_tokens},
          {"cached_tokens", request.cached_tokens},
          {"generated_tokens", request.generated_tokens},
          {"rows_held", request.rows_held},
          {"rows_uncompressed", request.rows_uncompressed},
          {"bytes", request.bytes},
          {"age_ms", tenths(request.age_ms)},
          {"ttft_ms", tenths(request.ttft_ms)}};
}

bool is_running(const RequestFigures& request) { return std::string_view{request.stage} != "waiting"; }

Json parameters_json(const press::PressRow& press) {
  Json parameters = Json::array();
  for (const press::PressNumber& number : press.numbers)
    parameters.push_back({{"name", number.name},
                          {"default", number.standard},
                          {"list", number.list},
                          {"optional", number.may_lack},
                          {"min", number.min},
                          {"max", number.max},
                          {"whole", number.whole},
                          {"help", number.help}});
  return parameters;
}

}  // namespace

std::string state_json(const EngineStats& stats, std::span<const RequestFigures> requests,
                       const ModelFacts& model) {
  std::vector<const RequestFigures*> shown;
  for (const bool running : {true, false})
    for (const RequestFigures& request : requests)
      if (is_running(request) == running && shown.size() < kRequestsShown) shown.push_back(&request);
  std::sort(shown.begin(), shown.end(), [](const auto* a, const auto* b) { return a->id < b->id; });

  Json list = Json::array();
  for (const RequestFigures* request : shown) list.push_back(request_json(*request));
  return dump({{"model", model_json(model)},
               {"pool", pool_json(stats)},
               {"queues", queues_json(stats)},
               {"totals", totals_json(stats, requests)},
               {"requests", std::move(list)},
               {"requests_left_out", requests.size() - shown.size()}});
}

std::string stamped_json(int64_t time_ms, const std::string& state) {
  return fmt::format(R"({{"time_ms":{},"state":{}}})", time_ms, state);
}

std::string presses_json() {
  Json list = Json::array();
  for (const press::PressRow* press : press::presses()) {
    if (press->name.starts_with("test_")) continue;  // tools of our own tests
    list.push_back({{"name", press->name},
                    {"removes", press->removes},
                    {"wraps", press->min_inner},
                    {"summary", press->summary},
                    {"parameters", parameters_json(*press)}});
  }
  return dump({{"presses", std::move(list)}});
}

}  // namespace fastcache::server
