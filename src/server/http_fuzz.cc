// SPDX-License-Identifier: Apache-2.0
// Any bytes as requests: whole and in pieces (the first byte says how long) they are accepted as the same
// request or not at all (a fault may be seen at once, or when its part is whole), and each refusal is one
// with a status and a body of valid JSON. Only what is about as long as a limit may be taken one way and
// refused the other: the limit counts what has come of a line, too.
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

constexpr const char* kTooLong = "too long";

bool is_about_length(const HttpFault& fault) {
  return fault.status == 431 || fault.sentence.find("too long a line") != std::string::npos;
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
    return is_about_length(fault) ? kTooLong : "";
  }
  return "";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string whole = parse(bytes, bytes.size()), in_pieces = parse(bytes, 1 + data[0] % 64);
  if (whole != in_pieces && whole != kTooLong && in_pieces != kTooLong) std::abort();
  return 0;
}
