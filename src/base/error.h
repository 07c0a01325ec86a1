// SPDX-License-Identifier: Apache-2.0
// The one exception type for input from outside, and what becomes of its codes. Scarcity (no page, queue
// full) is a value, never an Error; our own bugs assert.
#pragma once

#include "fastcache/error.h"

namespace fastcache {

const char* code_name(Code code);          // "bad_request": metrics, logs and the API's `code`
int exit_code(Code code);                  // one per code, 64..; never 0 or 1
int http_status(Code code);                // 400, 401, 404, ...
const char* openai_error_type(Code code);  // "invalid_request_error", "server_error", ...

}  // namespace fastcache
