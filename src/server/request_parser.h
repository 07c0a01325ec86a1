// SPDX-License-Identifier: Apache-2.0
// One HTTP/1 request out of bytes that come in any pieces. Pure: no socket, no clock; the same bytes give the
// same outcome however they are cut.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "server/http_error.h"
#include "server/http_options.h"

namespace fastcache::server {

struct RequestHead {
  std::string method;
  std::string target;                          // as sent
  std::map<std::string, std::string> headers;  // names in lower case; repeated ones joined by ", "
  bool http_1_1 = true;                        // else 1.0
  bool keep_alive = false;                     // what the client wants
  bool has_body = false;
  bool expects_continue = false;
  std::optional<uint64_t> content_length;  // none and has_body: chunked
};

class RequestParser {
 public:
  explicit RequestParser(const HttpLimits& limits);
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Both take what they can use from the front of `in` and say whether that part is whole. Throw HttpFault.
  bool read_head(std::string& in);
  bool read_body(std::string& in);

  // The head's contradictions: length twice, unknown encoding, no host, ... Throws HttpFault. Apart from
  // read_head, so that the refusal can say what the head asks of an answer.
  void check_head() const;

  const RequestHead& head() const;
  size_t body_bytes() const;  // so far
  std::string take_body();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache::server
