// SPDX-License-Identifier: Apache-2.0
#include "server/remote_image.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <new>
#include <optional>
#include <tuple>

#include "base/error.h"
#include "server/address_guard.h"
#include "server/http.h"
#include "server/image_url.h"

namespace fastcache::server {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using Tcp = asio::ip::tcp;
using Endpoints = RemoteImageSeams::Endpoints;

namespace {

constexpr auto kHere = asio::as_tuple(asio::use_awaitable);
constexpr int kMostRedirects = 3;
constexpr uint32_t kHeaderBytes = 16 << 10;

[[noreturn]] void refuse(const std::string& url, const std::string& why) {
  throw Error{Code::bad_request, fmt::format("the picture at {} could not be fetched: {}", shown(url), why)};
}

void find_by_system(asio::io_context& io, const std::string& host, uint16_t port,
                    std::function<void(Endpoints)> found) {
  auto resolver = std::make_shared<Tcp::resolver>(io);
  resolver->async_resolve(
      host, std::to_string(port), Tcp::resolver::numeric_service,
      [resolver, found = std::move(found)](error_code, Tcp::resolver::results_type results) {
        Endpoints endpoints;
        for (const auto& entry : results) endpoints.push_back(entry.endpoint());
        found(std::move(endpoints));
      });
}

http::request<http::empty_body> request_for(const ImageUrl& url) {
  http::request<http::empty_body> request{http::verb::get, url.target, 11};
  request.set(http::field::host, url.authority());
  request.set(http::field::user_agent, "fastcache/" FASTCACHE_VERSION);
  request.set(http::field::accept, "image/png, image/jpeg, image/webp, image/gif");
  request.set(http::field::accept_encoding, "identity");
  request.set(http::field::connection, "close");
  return request;
}

using Response = http::response<http::vector_body<uint8_t>>;

std::shared_ptr<asio::ssl::context> make_tls(const std::string& trusted_file) {
  auto tls = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  tls->set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1);
  tls->set_default_verify_paths();
  tls->set_verify_mode(asio::ssl::verify_peer);
  if (!trusted_file.empty()) tls->load_verify_file(trusted_file);
  return tls;
}

bool redirects(const Response& response) {
  constexpr unsigned kStatuses[] = {301, 302, 303, 307, 308};
  return std::find(std::begin(kStatuses), std::end(kStatuses), response.result_int()) != std::end(kStatuses);
}

}  // namespace

struct RemoteImages::Shared {
  asio::io_context& io;
  RemoteImageOptions options;
  RemoteImageSeams seams;
  std::shared_ptr<asio::ssl::context> tls;  // null where no host is allowed

  void check(const ImageUrl& url) const {
    if (is_allowed(options.hosts, url)) return;
    throw Error{Code::bad_request,
                fmt::format("pictures of {} may not be fetched; --allow-remote-images names the hosts that "
                            "may be asked",
                            shown(url.authority()))};
  }
  bool may_ask(const asio::ip::address& address) const {
    return seams.may_ask ? seams.may_ask(address) : is_public(address);
  }
};

class RemoteImages::Download final : public Fetch, public std::enable_shared_from_this<Download> {
 public:
  explicit Download(std::shared_ptr<const Shared> rules)
      : rules_(std::move(rules)), socket_(rules_->io), clock_(rules_->io), wake_(rules_->io) {}

  asio::awaitable<std::vector<uint8_t>> run(std::string url) override;
  void stop() override { end(true); }

 private:
  void end(bool client_left);
  static void at_end(Download* download) { download->end(false); }
  void start_clock();
  void go_on(error_code failed);  // throws if the fetch was ended, or the step before failed
  asio::awaitable<Endpoints> find(const ImageUrl& url);
  asio::awaitable<void> connect(const ImageUrl& url);
  asio::awaitable<Response> ask(const ImageUrl& url);
  template <class Stream>
  asio::awaitable<Response> exchange(Stream& stream, const ImageUrl& url);

  const std::shared_ptr<const Shared> rules_;
  Tcp::socket socket_;
  asio::steady_timer clock_;  // of the whole fetch
  asio::steady_timer wake_;   // never runs out: cancelled when the look-up has an answer
  std::string url_;           // as the request names it, for errors
  bool ended_ = false, client_left_ = false;
};

void RemoteImages::Download::end(bool client_left) {
  if (ended_) return;
  ended_ = true;
  client_left_ = client_left;
  error_code ignored;
  socket_.close(ignored);
  wake_.cancel();
  clock_.cancel();
}

void RemoteImages::Download::start_clock() {
  clock_.expires_after(std::chrono::milliseconds(rules_->options.timeout_ms));
  clock_.async_wait([weak = weak_from_this()](error_code failed) {
    if (failed) return;
    if (const auto fetch = weak.lock()) fetch->end(false);
  });
}

void RemoteImages::Download::go_on(error_code failed) {
  if (client_left_) throw ClientGone{};
  if (ended_)
    refuse(url_, fmt::format("it did not come within {} s",
                             static_cast<double>(rules_->options.timeout_ms) / 1000));
  if (failed == http::error::body_limit)
    refuse(url_, fmt::format("it has more than {} bytes", rules_->options.max_bytes));
  if (failed) refuse(url_, shown(failed.message()));
}

// The system's look-up cannot be interrupted, so it is left behind where the fetch ends first.
asio::awaitable<Endpoints> RemoteImages::Download::find(const ImageUrl& url) {
  const auto answer = std::make_shared<std::optional<Endpoints>>();
  const auto found = [answer, weak = weak_from_this()](Endpoints endpoints) {
    *answer = std::move(endpoints);
    if (const auto fetch = weak.lock()) fetch->wake_.cancel();
  };
  wake_.expires_at(asio::steady_timer::time_point::max());
  if (rules_->seams.resolve)
    rules_->seams.resolve(url.host, url.port, found);
  else
    find_by_system(rules_->io, url.host, url.port, found);
  while (!*answer && !ended_) co_await wake_.async_wait(kHere);
  go_on({});
  co_return **answer;
}

asio::awaitable<void> RemoteImages::Download::connect(const ImageUrl& url) {
  Endpoints endpoints = co_await find(url);
  if (endpoints.empty()) refuse(url_, fmt::format("{} has no address", shown(url.host)));
  std::erase_if(endpoints,
                [this](const Tcp::endpoint& endpoint) { return !rules_->may_ask(endpoint.address()); });
  if (endpoints.empty()) refuse(url_, fmt::format("{} has no public address", shown(url.host)));
  error_code failed;
  for (const Tcp::endpoint& endpoint : endpoints) {
    error_code ignored;
    socket_.close(ignored);
    std::tie(failed) = co_await socket_.async_connect(endpoint, kHere);
    if (!failed || ended_) break;
  }
  go_on(failed);
}

template <class Stream>
asio::awaitable<Response> RemoteImages::Download::exchange(Stream& stream, const ImageUrl& url) {
  http::request<http::empty_body> request = request_for(url);
  const auto [not_sent, n_sent] = co_await http::async_write(stream, request, kHere);
  go_on(not_sent);
  http::response_parser<http::vector_body<uint8_t>> parser;
  parser.body_limit(rules_->options.max_bytes);
  parser.header_limit(kHeaderBytes);
  boost::beast::flat_buffer buffer(2 * kHeaderBytes);
  const auto [not_read, n_read] = co_await http::async_read(stream, buffer, parser, kHere);
  go_on(not_read);
  co_return parser.release();
}

asio::awaitable<Response> RemoteImages::Download::ask(const ImageUrl& url) {
  rules_->check(url);
  co_await connect(url);
  if (!url.tls) co_return co_await exchange(socket_, url);
  asio::ssl::stream<Tcp::socket&> stream(socket_, *rules_->tls);
  stream.set_verify_callback(asio::ssl::host_name_verification(url.host));
  if (SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str()) != 1) throw std::bad_alloc();
  const auto [failed] = co_await stream.async_handshake(asio::ssl::stream_base::client, kHere);
  go_on(failed);
  co_return co_await exchange(stream, url);
}

asio::awaitable<std::vector<uint8_t>> RemoteImages::Download::run(std::string url) {
  const auto self = shared_from_this();
  const std::unique_ptr<Download, decltype(&at_end)> clock_stops(this, at_end);
  url_ = std::move(url);
  go_on({});
  start_clock();
  ImageUrl next = parse_image_url(url_);
  for (int n_redirects = 0; n_redirects <= kMostRedirects; ++n_redirects) {
    Response response = co_await ask(next);
    if (response.result() == http::status::ok) co_return std::move(response.body());
    if (!redirects(response)) refuse(url_, fmt::format("the server answered {}", response.result_int()));
    const std::string_view location = response[http::field::location];
    next = follow(next, location);
  }
  refuse(url_, fmt::format("it redirects more than {} times", kMostRedirects));
}

RemoteImages::RemoteImages(asio::io_context& io, RemoteImageOptions options, RemoteImageSeams seams) {
  Shared shared{io, std::move(options), std::move(seams), nullptr};
  if (!shared.options.hosts.empty()) shared.tls = make_tls(shared.seams.trusted_file);
  shared_ = std::make_shared<const Shared>(std::move(shared));
}

RemoteImages::~RemoteImages() = default;

std::shared_ptr<RemoteImages::Fetch> RemoteImages::make_fetch() {
  return std::make_shared<Download>(shared_);
}

void RemoteImages::check(const std::string& url) const {
  if (shared_->options.hosts.empty()) {
    throw Error{
        Code::unsupported,
        fmt::format("{} is an address on another machine, and pictures are fetched from none; send it "
                    "as a data URL, or start the server with --allow-remote-images HOST",
                    shown(url))};
  }
  shared_->check(parse_image_url(url));
}

}  // namespace fastcache::server
