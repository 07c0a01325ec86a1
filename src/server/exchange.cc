// SPDX-License-Identifier: Apache-2.0
#include "server/exchange.h"

#include <fmt/format.h>

#include "base/log.h"
#include "server/browser_guard.h"
#include "server/request_log.h"
#include "server/target.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

HttpFault internal_fault() { return {500, "The server failed to answer this request.", {}, ""}; }

}  // namespace

Exchange::Exchange(Wire& wire, ServerState& server)
    : wire_(wire), server_(server), parser_(server.options.limits), reply_(wire, server) {
  request_.id = server.ids.next();
  request_.peer = wire.peer();
  reply_.manner.request_id = request_.id;
}

Exchange::~Exchange() { server_.bodies_bytes -= counted_body_bytes_; }

asio::awaitable<bool> Exchange::run() {
  try {
    co_await answer();
  } catch (const ClientGone&) {
  }
  if (has_head_ || reply_.has_begun()) account();
  co_return reply_.keeps_connection() && !wire_.failed();
}

asio::awaitable<void> Exchange::answer() {
  const Route* route = nullptr;
  std::optional<HttpFault> fault;
  try {
    co_await receive_head();
    route = check();
    co_await receive_body();
  } catch (const HttpFault& thrown) {
    fault = thrown;
  }
  wire_.clear_deadline();
  if (fault) {
    co_await refuse(*fault);
  } else if (route == nullptr) {
    co_await answer_options();
  } else {
    co_await handle(*route);
  }
}

// Waits for more of the request. A client that ends in the middle of one is gone; there is nothing to answer.
asio::awaitable<void> Exchange::need_more(const char* what) {
  const Received got = co_await wire_.receive();
  if (got == Received::timed_out) {
    throw HttpFault{408, fmt::format("The {} of the request did not come in time.", what), {}, ""};
  }
  if (got != Received::bytes) throw ClientGone{};
}

asio::awaitable<void> Exchange::receive_head() {
  wire_.set_deadline(milliseconds(server_.options.limits.header_timeout_ms));
  while (!parser_.read_head(wire_.received())) co_await need_more("header");
  take_head();
}

void Exchange::take_head() {
  const RequestHead& head = parser_.head();
  has_head_ = true;
  request_.method = head.method;
  request_.path = head.target.substr(0, head.target.find_first_of("?#"));  // until it is decoded, for the log
  request_.headers = head.headers;
  if (const std::string id = header("x-request-id"); is_request_id(id)) request_.id = id;
  reply_.manner = {.http_1_1 = head.http_1_1,
                   .keep_alive = head.keep_alive,
                   .without_body = head.method == "HEAD",
                   .request_id = request_.id,
                   .headers = server_.cors.answer_headers(header("origin"))};
}

const Route* Exchange::check() {
  parser_.check_head();
  std::optional<Target> target = parse_target(parser_.head().target);
  if (!target)
    throw HttpFault{400, "The request target is not well-formed: it must be like /v1/models.", {}, ""};
  request_.path = std::move(target->path);
  request_.query = std::move(target->query);
  if (server_.draining) throw HttpFault{503, "The server is shutting down.", {{"Retry-After", "5"}}, ""};

  const std::string allowed = server_.routes.allowed_methods(request_.path);
  if (allowed.empty() && !server_.starting.empty())
    throw HttpFault{503, fmt::format("Not yet: {}.", server_.starting), {{"Retry-After", "1"}}, ""};
  if (allowed.empty()) throw HttpFault{404, fmt::format("There is nothing at {}.", request_.path), {}, ""};
  if (request_.method == "OPTIONS") return nullptr;
  const Route* route = server_.routes.find(request_.method, request_.path);
  if (route == nullptr) {
    throw HttpFault{405,
                    fmt::format("{} does not take {}; it takes {}.", request_.path, request_.method, allowed),
                    {{"Allow", allowed}},
                    ""};
  }
  check_page();
  if (route->needs_key && server_.keys.any() && !server_.keys.allow(header("authorization"))) {
    const bool missing = header("authorization").empty();
    throw HttpFault{401,
                    missing ? "An API key is needed: send the header 'Authorization: Bearer <key>'."
                            : "The API key is not one of this server's.",
                    {{"WWW-Authenticate", "Bearer"}},
                    ""};
  }
  return route;
}

void Exchange::check_page() const {
  const std::string origin = header("origin");
  const HttpOptions& options = server_.options;
  if (server_.keys.any() || options.open_without_key) return;
  if (may_ask(server_.cors, origin, header("host"), options.host)) return;
  throw HttpFault{
      403,
      fmt::format("Pages of {} may not use this server; --cors-origin lets them.", printable(origin)),
      {},
      ""};
}

asio::awaitable<void> Exchange::receive_body() {
  if (parser_.head().expects_continue && wire_.received().empty())
    co_await wire_.write("HTTP/1.1 100 Continue\r\n\r\n");
  const HttpLimits& limits = server_.options.limits;
  const auto begin = std::chrono::steady_clock::now();
  while (!parser_.read_body(wire_.received())) {
    count_body();
    // A slow but steady client gets the time that its bytes take; one that trickles does not.
    const int64_t earned_ms = static_cast<int64_t>(parser_.body_bytes()) * 1000 / limits.body_bytes_per_s;
    const auto end = begin + milliseconds(limits.body_timeout_ms + earned_ms);
    wire_.set_deadline(std::chrono::ceil<milliseconds>(end - std::chrono::steady_clock::now()));
    co_await need_more("body");
  }
  count_body();
  request_.body = parser_.take_body();
  has_body_ = true;
}

void Exchange::count_body() {
  server_.bodies_bytes += parser_.body_bytes() - counted_body_bytes_;
  counted_body_bytes_ = parser_.body_bytes();
  if (server_.bodies_bytes > server_.options.limits.all_bodies_bytes) {
    throw HttpFault{
        503, "The server holds as many request bodies as it can; try again.", {{"Retry-After", "1"}}, ""};
  }
}

asio::awaitable<void> Exchange::handle(const Route& route) {
  std::optional<HttpFault> fault;
  wire_.watch();
  try {
    co_await route.handler(request_, reply_);
    if (!reply_.has_begun()) throw std::logic_error("the handler sent nothing");
  } catch (const ClientGone&) {
  } catch (const Error& error) {
    fault = fault_of(error);
  } catch (const std::exception& error) {
    log().error("{} {} {}: {}", request_.id, request_.method, printable(request_.path), error.what());
    fault = internal_fault();
  }
  wire_.on_gone(nullptr);
  wire_.unwatch();
  if (fault && !reply_.has_begun()) co_await send_fault(*fault);
}

asio::awaitable<void> Exchange::refuse(const HttpFault& fault) {
  // What was not read of a request cannot be told from the next one.
  if (!has_head_ || (parser_.head().has_body && !has_body_)) reply_.manner.keep_alive = false;
  co_await send_fault(fault);
}

// The one place that turns errors into answers.
asio::awaitable<void> Exchange::send_fault(const HttpFault& fault) {
  ++server_.shared.counters.errors[error_body(fault).code];
  co_await reply_.send_fault(fault);
}

asio::awaitable<void> Exchange::answer_options() {
  const std::string allowed = server_.routes.allowed_methods(request_.path);
  Headers headers = server_.cors.preflight_headers(header("origin"), allowed);
  headers.emplace_back("Allow", allowed);
  co_await reply_.send(204, "", "", std::move(headers));
}

std::string Exchange::header(const char* name) const {
  const auto found = request_.headers.find(name);
  return found == request_.headers.end() ? "" : found->second;
}

void Exchange::account() const {
  const int status = reply_.has_begun() ? reply_.status() : 499;
  HttpCounters& counters = server_.shared.counters;
  ++counters.responses_by_class.at(static_cast<size_t>(status / 100));
  const bool cut = !reply_.is_whole();
  if (cut && wire_.gone()) ++counters.clients_gone;
  const double ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin_).count();
  log_request(
      {request_.id, wire_.peer(), request_.method, request_.path, status, ms, reply_.body_bytes(), cut},
      server_.options.log_json);
}

}  // namespace fastcache::server
