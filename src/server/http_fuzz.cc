// SPDX-License-Identifier: Apache-2.0
// Any bytes as requests: whole and in pieces (the first byte says how long) they are accepted as the same
// request or not at all (a fault may be seen at once, or when its part is whole), and each refusal is one
// with a status and a body of valid JSON.
#include <nlohmann/json.hpp>

#include <cstdlib>

#include "server/http_error.h"
#include "server/request_parser.h"
#include "server/target.h"

namespace {

using namespace fastcache::server;

HttpLimits small_limits() {
  HttpLimits limits;
  limits.request_line_bytes = 256;
  limits.header_bytes = 512;
  limits.body_bytes = 1024;
  return limits;
}

std::string parse(std::string_view bytes, size_t piece) {
  RequestParser parser(small_limits());
  std::string in;
  bool has_head = false;
  try {
    while (!bytes.empty()) {
      in += bytes.substr(0, piece);
      bytes.remove_prefix(std::min(piece, bytes.size()));
      if (!has_head && parser.read_head(in)) {
        has_head = true;
        parser.check_head();
        parse_target(parser.head().target);
      }
      if (has_head && parser.read_body(in)) return parser.head().target + "|" + parser.take_body();
      if (in.size() > piece + 2048 || parser.body_bytes() > 1024) std::abort();
    }
  } catch (const HttpFault& fault) {
    if (fault.status < 400 || fault.status > 505 || fault.sentence.empty()) std::abort();
    if (!nlohmann::json::accept(to_json(error_body(fault)))) std::abort();
    return "";
  }
  return "";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (parse(bytes, bytes.size()) != parse(bytes, 1 + data[0] % 64)) std::abort();
  return 0;
}
