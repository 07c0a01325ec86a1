// SPDX-License-Identifier: Apache-2.0
#include "server/request_parser.h"

#include <fmt/format.h>
#include <boost/beast/http/parser.hpp>

#include <algorithm>
#include <cctype>

namespace fastcache::server {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

// A string that grows with what really came: the announced length reserves nothing.
struct GrowingBody {
  using value_type = std::string;
  class reader {
   public:
    template <bool is_request, class Fields>
    reader(http::header<is_request, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<uint64_t>&, error_code& ec) { ec = {}; }
    size_t put(boost::asio::const_buffer bytes, error_code& ec) {
      ec = {};
      body_.append(static_cast<const char*>(bytes.data()), bytes.size());
      return bytes.size();
    }
    void finish(error_code& ec) { ec = {}; }

   private:
    value_type& body_;
  };
};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

bool looks_like_http(std::string_view request_line) {
  const std::string_view version = request_line.substr(request_line.rfind(' ') + 1);
  return version.starts_with("HTTP/") && version.size() > 5 &&
         std::isdigit(static_cast<unsigned char>(version[5]));
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

HttpFault bad(std::string sentence) { return {400, std::move(sentence), {}, ""}; }

HttpFault fault_of(error_code ec, std::string_view request_line) {
  if (ec == http::error::header_limit) return {431, "The header fields of the request are too long.", {}, ""};
  if (ec == http::error::body_limit) return {413, "The body of the request is too long.", {}, ""};
  if (ec == http::error::bad_version && looks_like_http(request_line)) {
    return {505, "The server speaks HTTP/1.1 and HTTP/1.0 only.", {}, ""};
  }
  if (ec == http::error::bad_content_length || ec == http::error::multiple_content_length ||
      ec == http::error::bad_transfer_encoding) {
    return bad(
        "The request contradicts itself about the length of its body (Content-Length, Transfer-Encoding).");
  }
  return bad(fmt::format("The request is not well-formed HTTP: {}.", ec.message()));
}

}  // namespace

struct RequestParser::Impl {
  explicit Impl(const HttpLimits& l) : limits(l) {
    parser.header_limit(static_cast<uint32_t>(l.header_bytes));
    parser.body_limit(boost::none);  // check_head looks at the length, so that the answer knows the head
  }

  // Returns whether something can come of more bytes.
  void put(std::string& in) {
    error_code ec;
    const size_t used = parser.put(boost::asio::buffer(in), ec);
    in.erase(0, used);
    if (ec && ec != http::error::need_more) throw fault_of(ec, request_line);
  }

  void check_request_line(const std::string& in);
  void take_head();

  const HttpLimits limits;
  http::request_parser<GrowingBody> parser;
  std::string request_line;  // empty until it is whole
  RequestHead head;
  int hosts = 0, lengths = 0, encodings = 0;
};

void RequestParser::Impl::check_request_line(const std::string& in) {
  const size_t end = std::string_view(in).substr(0, limits.request_line_bytes + 2).find("\r\n");
  if (end != in.npos) {
    request_line = in.substr(0, end);
  } else if (in.size() >= limits.request_line_bytes + 2) {
    throw HttpFault{
        414, fmt::format("The request line is longer than {} bytes.", limits.request_line_bytes), {}, ""};
  }
}

void RequestParser::Impl::take_head() {
  const auto& message = parser.get();
  head.method = std::string(message.method_string());
  head.target = std::string(message.target());
  head.http_1_1 = message.version() == 11;
  head.keep_alive = message.keep_alive();
  for (const auto& field : message) {
    hosts += field.name() == http::field::host;
    lengths += field.name() == http::field::content_length;
    encodings += field.name() == http::field::transfer_encoding;
    std::string& value = head.headers[lower(field.name_string())];
    if (!value.empty()) value += ", ";
    value += field.value();
  }
  if (lengths > 0) head.content_length = parser.content_length().value_or(0);
  head.has_body = parser.chunked() || head.content_length.value_or(0) > 0;
  const auto expect = head.headers.find("expect");
  head.expects_continue = expect != head.headers.end() && lower(expect->second) == "100-continue" &&
                          head.http_1_1 && head.has_body;
}

RequestParser::RequestParser(const HttpLimits& limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestParser::~RequestParser() = default;

bool RequestParser::read_head(std::string& in) {
  Impl& impl = *impl_;
  if (impl.request_line.empty()) {
    size_t blank = 0;  // some clients end a body with a line of its own
    while (in.compare(blank, 2, "\r\n") == 0) blank += 2;
    in.erase(0, blank);
    if (in.empty() || in == "\r") return false;
    impl.check_request_line(in);
  }
  // Until the line is whole the parser could take a slow client's first bytes for a fault of another kind.
  if (impl.request_line.empty()) return false;
  impl.put(in);
  if (!impl.parser.is_header_done()) return false;
  impl.take_head();
  impl.parser.eager(true);
  impl.parser.body_limit(impl.limits.body_bytes);  // of all chunks
  return true;
}

void RequestParser::check_head() const {
  const Impl& impl = *impl_;
  const auto& headers = impl.head.headers;
  if (impl.hosts > 1 || (impl.hosts == 0 && impl.head.http_1_1))
    throw bad("The request needs exactly one Host header.");
  if (impl.lengths > 1 || (impl.lengths == 1 && !is_number(headers.at("content-length")))) {
    throw bad("The request needs one Content-Length header with one number.");
  }
  if (impl.encodings > 0) {
    if (impl.lengths > 0) throw bad("The request has both Content-Length and Transfer-Encoding.");
    if (!impl.head.http_1_1) throw bad("HTTP/1.0 has no Transfer-Encoding.");
    const std::string& encoding = headers.at("transfer-encoding");
    if (lower(encoding) != "chunked") {
      throw HttpFault{
          501, fmt::format("Transfer-Encoding '{}' is unknown here; it must be chunked.", encoding), {}, ""};
    }
  }
  if (impl.head.content_length.value_or(0) > impl.limits.body_bytes) {
    throw HttpFault{
        413, fmt::format("The body of the request is longer than {} bytes.", impl.limits.body_bytes), {}, ""};
  }
  if (headers.contains("expect") && lower(headers.at("expect")) != "100-continue") {
    throw HttpFault{417, "The only expectation this server can meet is 100-continue.", {}, ""};
  }
}

bool RequestParser::read_body(std::string& in) {
  Impl& impl = *impl_;
  if (impl.parser.is_done()) return true;
  if (in.empty()) return false;
  impl.put(in);
  if (impl.parser.is_done()) return true;
  // What is left is the beginning of a chunk's size line or of the trailers.
  if (in.size() > impl.limits.header_bytes) throw bad("A chunk of the body begins with too long a line.");
  return false;
}

const RequestHead& RequestParser::head() const { return impl_->head; }
size_t RequestParser::body_bytes() const { return impl_->parser.get().body().size(); }
std::string RequestParser::take_body() { return std::move(impl_->parser.get().body()); }

}  // namespace fastcache::server
