// SPDX-License-Identifier: Apache-2.0
// Errors of the API: which field of the request was wrong, and what OpenAI's clients look for.
#pragma once

#include <string>

#include "base/error.h"
#include "server/http.h"

namespace fastcache::server {

struct ApiError : Error {
  ApiError(Code code, const std::string& sentence, std::string field)
      : Error(code, sentence), param(std::move(field)) {}
  std::string param;          // path of the field, "messages[2].content"; empty: none
  std::string api_code = {};  // empty: the code's own name
  int status = 0;             // 0: the code's own
};

// Of an ApiError or any other Error.
ErrorBody error_body(const Error& error);

}  // namespace fastcache::server
