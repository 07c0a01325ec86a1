// SPDX-License-Identifier: Apache-2.0
// All endpoints but the completions.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <string>
#include <vector>

#include "server/api.h"
#include "server/http.h"

namespace fastcache::server {

std::vector<std::string> model_names(const Api& api);  // the name, then the aliases
std::string models_json(const Api& api);
std::string model_json(const Api& api, const std::string& name);
std::string version_json();
std::string metrics_text(const Api& api);

// {"prompt", "add_special_tokens"} or {"messages", ...} -> {"count", "max_model_len", "tokens"}
boost::asio::awaitable<void> answer_tokenize(Api& api, const HttpRequest& request, HttpReply& reply);
// {"tokens"} -> {"prompt"}
boost::asio::awaitable<void> answer_detokenize(Api& api, const HttpRequest& request, HttpReply& reply);

}  // namespace fastcache::server
