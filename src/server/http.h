// SPDX-License-Identifier: Apache-2.0
// The seam between the HTTP connections (http_server.h) and what answers requests (routes.h). Everything here
// happens on the server's one thread.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastcache::server {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;                          // "GET"
  std::string path;                            // decoded, without the query
  std::map<std::string, std::string> query;    // decoded
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string id;    // X-Request-Id of the client where it is well-formed, else made here; sent back
  std::string peer;  // address of the client, for the log
};

// The client left while its request was being answered: write() throws it, handlers let it pass.
struct ClientGone {};

// Answers one request: either send(), or begin_stream(), write() ..., end_stream(). Owned by the connection.
class HttpReply {
 public:
  virtual ~HttpReply() = default;
  virtual boost::asio::awaitable<void> send(int status, std::string_view content_type, std::string body,
                                            Headers headers = {}) = 0;
  // Chunked transfer; the status can no longer change.
  virtual boost::asio::awaitable<void> begin_stream(std::string_view content_type, Headers headers = {}) = 0;
  // Resumes when the socket has taken the bytes: a client that reads slowly holds its own handler up only.
  virtual boost::asio::awaitable<void> write(std::string bytes) = 0;
  virtual boost::asio::awaitable<void> end_stream() = 0;
  virtual bool has_begun() const = 0;  // something was sent: an error can only be put into the stream
  // Called once, as soon as the client's side is closed or the server stops hard; at once if it is already.
  // Replaces an earlier function; the empty one removes it.
  virtual void on_client_gone(std::function<void()> what) = 0;
};

// An Error that leaves a handler before anything was sent becomes its HTTP status and error object.
using HttpHandler = std::function<boost::asio::awaitable<void>(const HttpRequest&, HttpReply&)>;

struct Route {
  std::string method;     // HEAD is answered by GET's handler without the body, OPTIONS by the server
  std::string path;       // exact
  bool needs_key = true;  // where keys are set
  HttpHandler handler;
};

// {"error": {"message", "type", "param", "code"}} of the OpenAI API, for an Error or a status.
struct ErrorBody {
  int status = 500;
  std::string message;
  std::string type;   // "invalid_request_error", ...
  std::string param;  // empty: null
  std::string code;   // empty: null
};
std::string to_json(const ErrorBody& error);

}  // namespace fastcache::server
