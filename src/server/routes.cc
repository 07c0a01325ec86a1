// SPDX-License-Identifier: Apache-2.0
#include "server/routes.h"

#include <optional>

#include "server/api_error.h"
#include "server/completions.h"
#include "server/small_endpoints.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;

asio::awaitable<void> guarded(HttpHandler handler, const HttpRequest& request, HttpReply& reply) {
  std::optional<ErrorBody> refused;
  try {
    co_await handler(request, reply);
  } catch (const ApiError& error) {
    if (reply.has_begun()) throw;
    refused = error_body(error);
  }
  if (refused) co_await reply.send(refused->status, "application/json", to_json(*refused));
}

Route route(const char* method, std::string path, HttpHandler handler) {
  return {.method = method,
          .path = std::move(path),
          .handler = [handler = std::move(handler)](const HttpRequest& request, HttpReply& reply) {
            return guarded(handler, request, reply);
          }};
}

// An endpoint that needs no waiting: its body, as JSON.
Route get_json(std::string path, std::function<std::string()> body) {
  return route("GET", std::move(path), [body = std::move(body)](const HttpRequest&, HttpReply& reply) {
    return reply.send(200, "application/json", body());
  });
}

using PostHandler = asio::awaitable<void> (*)(Api&, const HttpRequest&, HttpReply&);

Route post(Api& api, std::string path, PostHandler handler) {
  return route("POST", std::move(path), [&api, handler](const HttpRequest& request, HttpReply& reply) {
    return handler(api, request, reply);
  });
}

asio::awaitable<void> answer_chat(Api& api, const HttpRequest& request, HttpReply& reply) {
  return answer_completion(api, Endpoint::chat, request, reply);
}

asio::awaitable<void> answer_prompt(Api& api, const HttpRequest& request, HttpReply& reply) {
  return answer_completion(api, Endpoint::completions, request, reply);
}

}  // namespace

std::vector<Route> api_routes(Api& api) {
  std::vector<Route> routes;
  routes.push_back(post(api, "/v1/chat/completions", answer_chat));
  routes.push_back(post(api, "/v1/completions", answer_prompt));
  routes.push_back(post(api, "/tokenize", answer_tokenize));
  routes.push_back(post(api, "/detokenize", answer_detokenize));
  routes.push_back(get_json("/v1/models", [&api] { return models_json(api); }));
  for (const std::string& name : model_names(api))
    routes.push_back(get_json("/v1/models/" + name, [&api, name] { return model_json(api, name); }));
  routes.push_back(get_json("/version", version_json));
  routes.push_back(get_json("/health", [] { return std::string{R"({"status":"ok"})"}; }));
  routes.back().needs_key = false;  // of load balancers
  routes.push_back(route("GET", "/metrics", [&api](const HttpRequest&, HttpReply& reply) {
    return reply.send(200, "text/plain; version=0.0.4; charset=utf-8", metrics_text(api));
  }));
  return routes;
}

}  // namespace fastcache::server
