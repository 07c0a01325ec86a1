// SPDX-License-Identifier: Apache-2.0
#include "bench/http_load.h"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "bench/http_connection.h"

namespace fastcache::bench {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr std::chrono::milliseconds kProgressEvery{200};

// Faults of ours leave io_context::run().
void rethrow(const std::exception_ptr& error) {
  if (error != nullptr) std::rethrow_exception(error);
}

class HttpLoad {
 public:
  explicit HttpLoad(const HttpLoadOptions& options)
      : options_(options), io_(1), addresses_(resolve(io_, options.server.url)), slot_(io_), stop_(io_) {
    run_.records.resize(options.bodies.size());
    progress_.requests = static_cast<int>(options.bodies.size());
  }

  HttpLoadRun run() {
    if (options_.stop_handle >= 0) {
      stop_.assign(dup(options_.stop_handle));
      stop_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const error_code& error) {
        if (!error) io_.stop();
      });
    }
    if (options_.progress) asio::co_spawn(io_, show_progress(), rethrow);
    asio::co_spawn(io_, send_all(), rethrow);
    start_ = Clock::now();
    if (!options_.bodies.empty()) io_.run();
    if (options_.progress) options_.progress(progress_);
    return std::move(run_);
  }

 private:
  double now_ms() const { return Milliseconds(Clock::now() - start_).count(); }

  asio::awaitable<void> show_progress() {
    asio::steady_timer timer(io_);
    while (true) {
      options_.progress(progress_);
      timer.expires_after(kProgressEvery);
      co_await timer.async_wait(asio::use_awaitable);
    }
  }

  asio::awaitable<void> send_all() {
    asio::steady_timer timer(io_);
    double held_until_ms = 0;
    for (size_t i = 0; i < run_.records.size(); ++i) {
      timer.expires_at(start_ +
                       std::chrono::duration_cast<Clock::duration>(Milliseconds(options_.arrivals_ms[i])));
      co_await timer.async_wait(asio::use_awaitable);
      while (options_.max_concurrency > 0 && progress_.in_flight >= options_.max_concurrency) {
        slot_.expires_at(Clock::time_point::max());
        error_code woken;
        co_await slot_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
        held_until_ms = now_ms();
      }
      run_.records[i].start_ms = std::max(options_.arrivals_ms[i], held_until_ms);
      run_.most_in_flight = std::max(run_.most_in_flight, ++progress_.in_flight);
      asio::co_spawn(io_, ask(i), rethrow);
    }
  }

  std::unique_ptr<HttpConnection> take_connection() {
    if (idle_.empty()) return std::make_unique<HttpConnection>(io_, addresses_, run_.connects);
    std::unique_ptr<HttpConnection> connection = std::move(idle_.back());
    idle_.pop_back();
    return connection;
  }

  asio::awaitable<void> ask(size_t i) {
    HttpRecord& record = run_.records[i];
    record.state = HttpRecord::State::in_flight;
    std::unique_ptr<HttpConnection> connection = take_connection();
    AnswerStream stream;
    const HttpCall call{.url = &options_.server.url,
                        .path = options_.endpoint,
                        .body = &options_.bodies[i].json,
                        .api_key = options_.server.api_key,
                        .timeout_s = options_.server.timeout_s};
    HttpOutcome outcome =
        co_await connection->call(call, [&](std::string_view bytes) { stream.push(bytes, now_ms()); });
    if (connection->is_open()) idle_.push_back(std::move(connection));
    record.status = outcome.status;
    record.answer = stream.finish();
    if (!outcome.error.empty()) record.answer.error = std::move(outcome.error);
    if (outcome.status != 200 && outcome.status != 0) record.answer.error = error_message(outcome.body);
    finish(record);
  }

  void finish(HttpRecord& record) {
    const bool good = record.answer.error.empty();
    record.state = good ? HttpRecord::State::completed : HttpRecord::State::failed;
    ++(good ? progress_.completed : progress_.failed);
    --progress_.in_flight;
    slot_.cancel();
    if (progress_.completed + progress_.failed == progress_.requests) io_.stop();
  }

  const HttpLoadOptions& options_;
  HttpLoadRun run_;
  LoadProgress progress_;
  Clock::time_point start_;
  asio::io_context io_;
  asio::ip::tcp::resolver::results_type addresses_;
  asio::steady_timer slot_;  // its wait ends when a request does
  asio::posix::stream_descriptor stop_;
  std::vector<std::unique_ptr<HttpConnection>> idle_;
};

HttpOutcome fetch(const LoadServer& server, const std::string& path, const std::string* body,
                  const BodySink& on_body) {
  asio::io_context io(1);
  int connects = 0;
  HttpConnection connection(io, resolve(io, server.url), connects);
  const HttpCall call{.url = &server.url,
                      .path = path,
                      .body = body,
                      .api_key = server.api_key,
                      .timeout_s = server.timeout_s};
  HttpOutcome outcome;
  asio::co_spawn(
      io, [&]() -> asio::awaitable<void> { outcome = co_await connection.call(call, on_body); }, rethrow);
  io.run();
  const std::string where = fmt::format("http://{}{}{}", server.url.authority, server.url.base_path, path);
  if (outcome.status == 0)
    throw Error{Code::io, fmt::format("{}: {}; is the server running?", where, outcome.error)};
  if (outcome.status != 200) {
    const Code code = outcome.status == 401 || outcome.status == 403 ? Code::unauthorized : Code::unsupported;
    throw Error{code, fmt::format("{}: HTTP {}: {}", where, outcome.status, error_message(outcome.body))};
  }
  if (!outcome.error.empty()) throw Error{Code::io, fmt::format("{}: {}", where, outcome.error)};
  return outcome;
}

}  // namespace

HttpLoadRun run_http_load(const HttpLoadOptions& options) { return HttpLoad(options).run(); }

std::string first_model(const LoadServer& server) {
  std::string body;
  fetch(server, "/v1/models", nullptr, [&](std::string_view bytes) { body += bytes; });
  if (const auto name = first_model_in(body)) return *name;
  throw Error{Code::unsupported,
              fmt::format("http://{}{}/v1/models lists no model; name one by --served-model-name",
                          server.url.authority, server.url.base_path)};
}

void warm_up(const LoadServer& server, const std::string& endpoint, const LoadBody& body) {
  AnswerStream stream;
  fetch(server, endpoint, &body.json, [&](std::string_view bytes) { stream.push(bytes, 0); });
  const StreamedAnswer answer = stream.finish();
  if (!answer.error.empty()) {
    throw Error{Code::unsupported, fmt::format("http://{}{}{}: {}", server.url.authority,
                                               server.url.base_path, endpoint, answer.error)};
  }
}

}  // namespace fastcache::bench
