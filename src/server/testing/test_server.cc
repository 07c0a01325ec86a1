// SPDX-License-Identifier: Apache-2.0
#include "server/testing/test_server.h"

#include <fmt/format.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <stdexcept>

#include "base/error.h"

namespace fastcache::server::testing {
namespace {

namespace asio = boost::asio;

asio::awaitable<void> hello(const HttpRequest&, HttpReply& reply) {
  co_await reply.send(200, "text/plain", "hello", {});
}

asio::awaitable<void> echo(const HttpRequest& request, HttpReply& reply) {
  co_await reply.send(200, "application/octet-stream", request.body, {});
}

asio::awaitable<void> what(const HttpRequest& request, HttpReply& reply) {
  std::string text = fmt::format("{} {}\n", request.method, request.path);
  for (const auto& [name, value] : request.query) text += fmt::format("?{}={}\n", name, value);
  for (const auto& [name, value] : request.headers) text += fmt::format("{}: {}\n", name, value);
  text += request.body;
  co_await reply.send(200, "text/plain", text, {});
}

asio::awaitable<void> stream(const HttpRequest& request, HttpReply& reply) {
  const int n = request.query.contains("n") ? std::stoi(request.query.at("n")) : 3;
  co_await reply.begin_stream("text/plain", {});
  for (int i = 0; i < n; ++i) co_await reply.write(fmt::format("{}\n", i));
  co_await reply.end_stream();
}

asio::awaitable<void> cut(const HttpRequest&, HttpReply& reply) {
  co_await reply.begin_stream("text/plain", {});
  co_await reply.write("begun");
  throw std::runtime_error("in the middle");
}

asio::awaitable<void> fail(const HttpRequest& request, HttpReply&) {
  for (const Code code :
       {Code::bad_request, Code::not_found, Code::overloaded, Code::internal, Code::context_too_long}) {
    if (request.query.at("code") == code_name(code)) throw Error{code, "as the test asked"};
  }
  throw std::runtime_error("a secret");
  co_return;
}

asio::awaitable<void> silent(const HttpRequest&, HttpReply&) { co_return; }

// Counts its end even where the coroutine is destroyed.
struct CountsEnd {
  Tally& ended;
  ~CountsEnd() { ended.add(); }
};

asio::awaitable<void> wait(Seen& seen, HttpReply& reply) {
  const CountsEnd end{seen.ended};
  asio::steady_timer never(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
  reply.on_client_gone([&] {
    seen.gone.add();
    never.cancel();
  });
  seen.begun.add();
  co_await never.async_wait(asio::as_tuple(asio::use_awaitable));
  co_await reply.send(200, "text/plain", "waited", {});
}

asio::awaitable<void> endless(const HttpRequest& request, Seen& seen, HttpReply& reply) {
  const size_t bytes = request.query.contains("bytes") ? std::stoul(request.query.at("bytes")) : 1000;
  const CountsEnd end{seen.ended};
  reply.on_client_gone([&] { seen.gone.add(); });
  seen.begun.add();
  co_await reply.begin_stream("text/plain", {});
  asio::steady_timer pause(co_await asio::this_coro::executor);
  while (true) {
    std::string dots(bytes, '.');
    co_await reply.write(std::move(dots));
    pause.expires_after(std::chrono::milliseconds(1));
    co_await pause.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<void> gated(Seen& seen, HttpReply& reply) {
  asio::steady_timer gate(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
  seen.open_gate = [&gate] { gate.cancel(); };
  co_await reply.begin_stream("text/plain", {});
  co_await reply.write("1");
  seen.begun.add();
  co_await gate.async_wait(asio::as_tuple(asio::use_awaitable));
  co_await reply.write("2");
  co_await reply.end_stream();
}

// Its answer begins when the gate opens.
asio::awaitable<void> late(Seen& seen, HttpReply& reply) {
  asio::steady_timer gate(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
  seen.open_gate = [&gate] { gate.cancel(); };
  seen.begun.add();
  co_await gate.async_wait(asio::as_tuple(asio::use_awaitable));
  co_await reply.send(200, "text/plain", "late", {});
}

}  // namespace

TestServer::TestServer(HttpOptions options, std::vector<Route> routes)
    : http_(std::move(options), std::move(routes)), thread_([this] { http_.run(); }) {}

TestServer::~TestServer() {
  if (!thread_.joinable()) return;
  http_.drain();
  http_.drain();
  thread_.join();
}

void Tally::add() {
  const std::lock_guard lock(mutex_);
  ++count_;
  changed_.notify_all();
}

int Tally::count() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

bool Tally::wait_for(int count) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return count_ >= count; });
}

std::vector<Route> test_routes(Seen& seen) {
  return {
      {"GET", "/hello", true, hello},
      {"GET", "/open", false, hello},
      {"POST", "/echo", true, echo},
      {"GET", "/what", true, what},
      {"POST", "/what", true, what},
      {"GET", "/stream", true, stream},
      {"GET", "/cut", true, cut},
      {"GET", "/error", true, fail},
      {"GET", "/silent", true, silent},
      {"GET", "/gated", true, [&seen](const HttpRequest&, HttpReply& reply) { return gated(seen, reply); }},
      {"GET", "/late", true, [&seen](const HttpRequest&, HttpReply& reply) { return late(seen, reply); }},
      {"GET", "/wait", true, [&seen](const HttpRequest&, HttpReply& reply) { return wait(seen, reply); }},
      {"GET", "/endless", true,
       [&seen](const HttpRequest& request, HttpReply& reply) { return endless(request, seen, reply); }},
  };
}

}  // namespace fastcache::server::testing
