// SPDX-License-Identifier: Apache-2.0
#include "server/routes.h"

#include <optional>

#include "server/api_error.h"
#include "server/completions.h"
#include "server/small_endpoints.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;

// Counts what is refused; errors that name a field are answered here.
asio::awaitable<void> guarded(std::shared_ptr<Metrics> metrics, HttpHandler handler,
                              const HttpRequest& request, HttpReply& reply) {
  std::optional<ErrorBody> refused;
  try {
    co_await handler(request, reply);
  } catch (const ApiError& error) {
    metrics->error(code_name(error.code()));
    refused = error_body(error);
  } catch (const Error& error) {
    metrics->error(code_name(error.code()));
    throw;
  }
  if (refused) co_await reply.send(refused->status, "application/json", to_json(*refused));
}

Route route(const Api& api, const char* method, std::string path, HttpHandler handler) {
  return {.method = method,
          .path = std::move(path),
          .handler = [metrics = api.metrics(), handler = std::move(handler)](const HttpRequest& request,
                                                                             HttpReply& reply) {
            return guarded(metrics, handler, request, reply);
          }};
}

// An endpoint that needs no waiting: its body, as JSON.
Route get_json(const Api& api, std::string path, std::function<std::string()> body) {
  return route(api, "GET", std::move(path), [body = std::move(body)](const HttpRequest&, HttpReply& reply) {
    return reply.send(200, "application/json", body());
  });
}

using PostHandler = asio::awaitable<void> (*)(Api&, const HttpRequest&, HttpReply&);

Route post(Api& api, std::string path, PostHandler handler) {
  return route(api, "POST", std::move(path), [&api, handler](const HttpRequest& request, HttpReply& reply) {
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
  routes.push_back(get_json(api, "/v1/models", [&api] { return models_json(api); }));
  for (const std::string& name : model_names(api))
    routes.push_back(get_json(api, "/v1/models/" + name, [&api, name] { return model_json(api, name); }));
  routes.push_back(get_json(api, "/version", version_json));
  routes.push_back(get_json(api, "/health", [] { return std::string{R"({"status":"ok"})"}; }));
  routes.back().needs_key = false;  // of load balancers
  routes.push_back(route(api, "GET", "/metrics", [&api](const HttpRequest&, HttpReply& reply) {
    return reply.send(200, "text/plain; version=0.0.4; charset=utf-8", metrics_text(api));
  }));
  return routes;
}

}  // namespace fastcache::server
