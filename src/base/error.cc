// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <array>
#include <cassert>

namespace fastcache {
namespace {

struct CodeRow {
  Code code;
  const char* name;
  int exit_code;
  int http_status;
  const char* openai_type;
};

constexpr std::array<CodeRow, 11> kCodes{{
    {Code::bad_request, "bad_request", 64, 400, "invalid_request_error"},
    {Code::not_found, "not_found", 66, 404, "invalid_request_error"},
    {Code::unsupported, "unsupported", 69, 400, "invalid_request_error"},
    {Code::invalid_model, "invalid_model", 65, 500, "server_error"},
    {Code::context_too_long, "context_too_long", 71, 400, "invalid_request_error"},
    {Code::pool_too_small, "pool_too_small", 72, 400, "invalid_request_error"},
    {Code::io, "io", 74, 500, "server_error"},
    {Code::unauthorized, "unauthorized", 77, 401, "authentication_error"},
    {Code::overloaded, "overloaded", 75, 429, "rate_limit_error"},
    {Code::cancelled, "cancelled", 130, 499, "cancelled"},
    {Code::internal, "internal", 70, 500, "server_error"},
}};

const CodeRow& row(Code code) {
  const CodeRow& found = kCodes.at(static_cast<size_t>(code));
  assert(found.code == code);
  return found;
}

}  // namespace

const char* code_name(Code code) { return row(code).name; }
int exit_code(Code code) { return row(code).exit_code; }
int http_status(Code code) { return row(code).http_status; }
const char* openai_error_type(Code code) { return row(code).openai_type; }

}  // namespace fastcache
