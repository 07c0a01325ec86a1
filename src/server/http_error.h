// SPDX-License-Identifier: Apache-2.0
// Requests that are refused, and the error object that tells why.
#pragma once

#include <exception>
#include <string>

#include "base/error.h"
#include "server/http.h"

namespace fastcache::server {

// Thrown inside the server where a request cannot be served; becomes the answer.
struct HttpFault {
  int status = 500;
  std::string sentence;
  Headers headers;   // Allow, Retry-After, ...
  std::string code;  // empty: made from the status
};

const char* status_text(int status);  // "Not Found"; "Unknown" for what has no name

HttpFault fault_of(const Error& error);
ErrorBody error_body(const HttpFault& fault);

}  // namespace fastcache::server
