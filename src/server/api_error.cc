// SPDX-License-Identifier: Apache-2.0
#include "server/api_error.h"

namespace fastcache::server {

ErrorBody error_body(const Error& error) {
  ErrorBody body{.status = http_status(error.code()),
                 .message = error.what(),
                 .type = openai_error_type(error.code()),
                 .param = {},
                 .code = code_name(error.code())};
  if (const auto* api = dynamic_cast<const ApiError*>(&error)) {
    body.param = api->param;
    if (!api->api_code.empty()) body.code = api->api_code;
    if (api->status != 0) body.status = api->status;
  }
  return body;
}

}  // namespace fastcache::server
