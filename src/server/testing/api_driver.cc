// SPDX-License-Identifier: Apache-2.0
#include "server/testing/api_driver.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "server/api_error.h"

namespace fastcache::server::test_support {

namespace asio = boost::asio;

void FakeReply::leave() {
  gone_ = true;
  if (const auto what = std::exchange(on_gone_, {})) what();
  resumed_.cancel();
}

void FakeReply::read_on() {
  reads = true;
  resumed_.cancel();
}

asio::awaitable<void> FakeReply::send(int new_status, std::string_view type, std::string bytes,
                                      Headers new_headers) {
  if (gone_) throw ClientGone{};
  begun = ended = true;
  status = new_status;
  content_type = type;
  headers = std::move(new_headers);
  body = std::move(bytes);
  co_return;
}

asio::awaitable<void> FakeReply::begin_stream(std::string_view type, Headers new_headers) {
  if (gone_) throw ClientGone{};
  begun = true;
  status = 200;
  content_type = type;
  headers = std::move(new_headers);
  co_return;
}

asio::awaitable<void> FakeReply::write(std::string bytes) {
  if (static_cast<int>(writes.size()) == leave_at_write) leave();
  while (!reads && !gone_) {
    resumed_.expires_at(asio::steady_timer::time_point::max());
    co_await resumed_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  if (gone_) throw ClientGone{};
  body += bytes;
  writes.push_back(std::move(bytes));
}

asio::awaitable<void> FakeReply::end_stream() {
  if (gone_) throw ClientGone{};
  ended = true;
  co_return;
}

void FakeReply::on_client_gone(std::function<void()> what) {
  on_gone_ = std::move(what);
  if ((gone_ || gone_from_start) && on_gone_) leave();
}

ApiDriver::ApiDriver(Options options) {
  options.engine.model = folder_.file("tiny.gguf");
  model::test_support::write_tiny_model(options.engine.model, options.model);
  if (options.mmproj) {
    options.engine.mmproj = folder_.file("mmproj.gguf");
    model::test_support::write_tiny_mmproj(options.engine.mmproj, *options.mmproj);
  }
  engine_ = std::make_unique<Engine>(options.engine);
  api_ = std::make_unique<Api>(*engine_, io_, options.api);
  routes_ = api_routes(*api_);
}

namespace {

asio::awaitable<void> handle(const HttpHandler& handler, std::shared_ptr<Exchange> exchange) {
  std::optional<ErrorBody> refused;
  try {
    co_await handler(exchange->request, exchange->reply);
  } catch (const Error& error) {
    if (exchange->reply.begun) throw;
    refused = error_body(error);
  } catch (const ClientGone&) {
    exchange->client_gone = true;
  }
  if (refused)
    co_await exchange->reply.send(refused->status, "application/json", to_json(*refused), Headers{});
}

}  // namespace

std::shared_ptr<Exchange> ApiDriver::start(const std::string& method, const std::string& path,
                                           const std::string& body,
                                           const std::function<void(FakeReply&)>& prepare) {
  const auto route = std::find_if(routes_.begin(), routes_.end(),
                                  [&](const Route& r) { return r.method == method && r.path == path; });
  if (route == routes_.end()) throw std::logic_error("no route " + method + " " + path);
  auto exchange = std::make_shared<Exchange>(io_);
  exchange->request.method = method;
  exchange->request.path = path;
  exchange->request.body = body;
  exchange->request.id = "r-1";
  if (prepare) prepare(exchange->reply);
  asio::co_spawn(io_, handle(route->handler, exchange), [exchange](std::exception_ptr error) {
    exchange->foreign = error;
    exchange->done = true;
  });
  return exchange;
}

void ApiDriver::run(const std::function<bool()>& until) {
  while (!until()) io_.run_one();
}

std::shared_ptr<Exchange> ApiDriver::call(const std::string& method, const std::string& path,
                                          const std::string& body,
                                          const std::function<void(FakeReply&)>& prepare) {
  auto exchange = start(method, path, body, prepare);
  run([&] { return exchange->done; });
  if (exchange->foreign != nullptr) std::rethrow_exception(exchange->foreign);
  return exchange;
}

bool ApiDriver::becomes_idle() {
  for (int i = 0; i < 5000; ++i) {
    const EngineStats stats = engine_->stats();
    if (stats.waiting + stats.running == 0 && stats.free_bytes == stats.pool_bytes) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

std::vector<std::string> events_of(const std::string& body) {
  std::vector<std::string> events;
  size_t begin = 0;
  while (begin < body.size()) {
    const size_t end = body.find("\n\n", begin);
    if (end == std::string::npos || body.compare(begin, 6, "data: ") != 0)
      throw std::logic_error("not an event: " + body.substr(begin));
    events.push_back(body.substr(begin + 6, end - begin - 6));
    begin = end + 2;
  }
  return events;
}

}  // namespace fastcache::server::test_support
