// SPDX-License-Identifier: Apache-2.0
#include "server/web_routes.h"

#include <cassert>
#include <span>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "server/web_files.h"

namespace fastcache::server {
namespace {

// Everything the page runs or shows comes from this server; it may not be framed, so nobody can lay a page of
// his own over its buttons.
constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct ContentType {
  std::string_view ending;
  std::string_view type;
};
constexpr ContentType kTypes[] = {{".html", "text/html; charset=utf-8"},
                                  {".css", "text/css; charset=utf-8"},
                                  {".js", "text/javascript; charset=utf-8"},
                                  {".svg", "image/svg+xml"}};

std::string_view content_type(std::string_view name) {
  for (const auto& [ending, type] : kTypes)
    if (name.ends_with(ending)) return type;
  assert(false && "a file in src/server/web whose content type is not known");
  return "application/octet-stream";
}

std::string etag(std::string_view bytes) {
  return '"' + to_hex(hash128(std::as_bytes(std::span{bytes}))) + '"';
}

// One of the tags of an If-None-Match field; weak ones count, as RFC 9110 has it for this field.
bool names_tag(std::string_view field, std::string_view tag) {
  while (!field.empty()) {
    const size_t comma = field.find(',');
    std::string_view one = field.substr(0, comma);
    field.remove_prefix(comma == std::string_view::npos ? field.size() : comma + 1);
    while (one.starts_with(' ') || one.starts_with('\t')) one.remove_prefix(1);
    while (one.ends_with(' ') || one.ends_with('\t')) one.remove_suffix(1);
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == tag || one == "*") return true;
  }
  return false;
}

Headers file_headers(const std::string& tag) {
  return {{"ETag", tag},
          {"Cache-Control", "no-cache"},  // may be kept, must be asked about: a new server, a new page
          {"Content-Security-Policy", std::string{kPolicy}},
          {"X-Content-Type-Options", "nosniff"},
          {"Referrer-Policy", "no-referrer"}};
}

boost::asio::awaitable<void> send_file(const WebFile& file, const std::string& tag,
                                       const HttpRequest& request, HttpReply& reply) {
  const auto known = request.headers.find("if-none-match");
  const bool is_known = known != request.headers.end() && names_tag(known->second, tag);
  return reply.send(is_known ? 304 : 200, content_type(file.name), is_known ? "" : std::string{file.bytes},
                    file_headers(tag));
}

}  // namespace

std::vector<Route> web_routes() {
  std::vector<Route> routes;
  for (const WebFile& file : web_files()) {
    const std::string path = file.name == "index.html" ? "/" : "/web/" + std::string{file.name};
    routes.push_back(
        {.method = "GET",
         .path = path,
         .needs_key = false,
         .handler = [&file, tag = etag(file.bytes)](const HttpRequest& request, HttpReply& reply) {
           return send_file(file, tag, request, reply);
         }});
  }
  return routes;
}

}  // namespace fastcache::server
