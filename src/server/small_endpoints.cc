// SPDX-License-Identifier: Apache-2.0
#include "server/small_endpoints.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "server/json_field.h"
#include "server/json_text.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;

constexpr size_t kMostRequests = 1024;  // whose rows are summed up for the metrics

void check_model(const Api& api, const JsonField& root) {
  if (const auto model = root.find("model")) api.check_model(model->string());
}

std::vector<int32_t> chat_tokens(const Api& api, const std::string& body) {
  const CompletionCall call = parse_completion_call(Endpoint::chat, body, {});
  if (!call.pictures.empty()) {
    const std::string& path = call.pictures.front().path;
    throw ApiError{Code::unsupported, fmt::format("{} is a picture; pictures have no token ids", path), path};
  }
  return api.engine().prepare_chat(call.chat).tokens;
}

std::vector<int32_t> tokens_of(const Api& api, const std::string& body) {
  const Json json = parse_json_object(body);
  const JsonField root(json, "");
  check_model(api, root);
  if (root.find("messages")) return chat_tokens(api, body);
  const JsonField prompt = root.need("prompt", "a string, or messages in its place");
  const auto add_special = root.find("add_special_tokens");
  return api.engine().tokenize(prompt.string(), !add_special || add_special->boolean(), true);
}

std::string tokenize(const Api& api, const std::string& body) {
  const std::vector<int32_t> tokens = tokens_of(api, body);
  return fmt::format(R"({{"count":{},"max_model_len":{},"tokens":[{}]}})", tokens.size(),
                     api.engine().model().context_tokens, fmt::join(tokens, ","));
}

std::string detokenize(const Api& api, const std::string& body) {
  const Json json = parse_json_object(body);
  const JsonField root(json, "");
  check_model(api, root);
  const std::vector<int32_t> tokens = read_token_ids(root.need("tokens", "an array of token ids"));
  return fmt::format(R"({{"prompt":{}}})", json_string(api.engine().detokenize(tokens)));
}

}  // namespace

std::vector<std::string> model_names(const Api& api) {
  std::vector<std::string> names{api.model_name()};
  for (const std::string& alias : api.options().aliases)
    if (alias != api.model_name()) names.push_back(alias);
  return names;
}

std::string model_json(const Api& api, const std::string& name) {
  return fmt::format(
      R"({{"id":{},"object":"model","created":{},"owned_by":"fastcache","root":{},"max_model_len":{},"input_modalities":{}}})",
      json_string(name), api.started(), json_string(api.model_name()), api.engine().model().context_tokens,
      api.engine().model().has_vision ? R"(["text","image"])" : R"(["text"])");
}

std::string models_json(const Api& api) {
  std::vector<std::string> models;
  for (const std::string& name : model_names(api)) models.push_back(model_json(api, name));
  return fmt::format(R"({{"object":"list","data":[{}]}})", fmt::join(models, ","));
}

std::string version_json() { return fmt::format(R"({{"version":"{}"}})", FASTCACHE_VERSION); }

std::string metrics_text(const Api& api) {
  const std::string more = api.options().more_metrics ? api.options().more_metrics() : "";
  return api.metrics()->text(api.engine().stats(), api.engine().requests(kMostRequests), more);
}

asio::awaitable<void> answer_tokenize(Api& api, const HttpRequest& request, HttpReply& reply) {
  const auto work = [&] { return tokenize(api, request.body); };
  std::string body = co_await api.on_worker(work);
  co_await reply.send(200, "application/json", std::move(body));
}

asio::awaitable<void> answer_detokenize(Api& api, const HttpRequest& request, HttpReply& reply) {
  const auto work = [&] { return detokenize(api, request.body); };
  std::string body = co_await api.on_worker(work);
  co_await reply.send(200, "application/json", std::move(body));
}

}  // namespace fastcache::server
