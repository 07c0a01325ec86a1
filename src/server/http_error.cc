// SPDX-License-Identifier: Apache-2.0
#include "server/http_error.h"

#include <nlohmann/json.hpp>

#include <array>

namespace fastcache::server {
namespace {

struct StatusRow {
  int status;
  const char* text;
  const char* code;  // of the error object
};

constexpr std::array<StatusRow, 25> kStatuses{{
    {100, "Continue", ""},
    {200, "OK", ""},
    {201, "Created", ""},
    {202, "Accepted", ""},
    {204, "No Content", ""},
    {304, "Not Modified", ""},
    {400, "Bad Request", "bad_request"},
    {401, "Unauthorized", "invalid_api_key"},
    {403, "Forbidden", "forbidden"},
    {404, "Not Found", "not_found"},
    {405, "Method Not Allowed", "method_not_allowed"},
    {408, "Request Timeout", "request_timeout"},
    {409, "Conflict", "conflict"},
    {413, "Content Too Large", "content_too_large"},
    {414, "URI Too Long", "uri_too_long"},
    {415, "Unsupported Media Type", "unsupported_media_type"},
    {417, "Expectation Failed", "expectation_failed"},
    {422, "Unprocessable Content", "unprocessable_content"},
    {429, "Too Many Requests", "rate_limit_exceeded"},
    {431, "Request Header Fields Too Large", "header_too_large"},
    {499, "Client Closed Request", "cancelled"},
    {500, "Internal Server Error", "internal"},
    {501, "Not Implemented", "not_implemented"},
    {503, "Service Unavailable", "unavailable"},
    {505, "HTTP Version Not Supported", "http_version_not_supported"},
}};

const StatusRow* find_row(int status) {
  for (const StatusRow& row : kStatuses) {
    if (row.status == status) return &row;
  }
  return nullptr;
}

const char* error_type(int status) {
  if (status == 401) return openai_error_type(Code::unauthorized);
  if (status == 429) return openai_error_type(Code::overloaded);
  if (status == 499) return openai_error_type(Code::cancelled);
  return status >= 500 ? "server_error" : "invalid_request_error";
}

}  // namespace

const char* status_text(int status) {
  const StatusRow* row = find_row(status);
  return row != nullptr ? row->text : "Unknown";
}

HttpFault fault_of(const Error& error) {
  HttpFault fault;
  fault.status = http_status(error.code());
  fault.sentence = error.what();
  fault.code = code_name(error.code());
  if (fault.status == 429 || fault.status == 503) fault.headers.emplace_back("Retry-After", "1");
  if (fault.status == 401) fault.headers.emplace_back("WWW-Authenticate", "Bearer");
  return fault;
}

ErrorBody error_body(const HttpFault& fault) {
  ErrorBody body;
  body.status = fault.status;
  body.message = fault.sentence;
  body.type = error_type(fault.status);
  const StatusRow* row = find_row(fault.status);
  body.code = !fault.code.empty() || row == nullptr ? fault.code : row->code;
  return body;
}

std::string to_json(const ErrorBody& error) {
  using nlohmann::json;
  const auto text_or_null = [](const std::string& text) { return text.empty() ? json() : json(text); };
  const json object = {{"error",
                        {{"message", error.message},
                         {"type", error.type},
                         {"param", text_or_null(error.param)},
                         {"code", text_or_null(error.code)}}}};
  // Sentences quote what the client sent, which may be no UTF-8.
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace fastcache::server
