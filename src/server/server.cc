// SPDX-License-Identifier: Apache-2.0
#include "server/server.h"

#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "server/api.h"
#include "server/api_keys.h"
#include "server/http_metrics.h"
#include "server/http_server.h"
#include "server/json_log.h"
#include "server/live_feed.h"
#include "server/routes.h"
#include "server/web_routes.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;

std::vector<std::string> current_keys(const std::string& key_file) {
  std::vector<std::string> keys;
  if (!key_file.empty()) keys = read_key_file(key_file);
  const char* key = std::getenv("FASTCACHE_API_KEY");
  if (key == nullptr) return keys;
  const std::string_view text = key;
  if (text.empty() || !std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f'; })) {
    throw Error{Code::bad_request,
                "FASTCACHE_API_KEY is no key; it must be made of visible ASCII characters, without blanks"};
  }
  keys.emplace_back(text);
  return keys;
}

HttpOptions with_keys(HttpOptions options, const std::string& key_file) {
  options.keys = current_keys(key_file);
  return options;
}

std::string url_of(const HttpOptions& options, int port) {
  const bool is_ipv6 = options.host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", options.tls_chain_file.empty() ? "http" : "https", is_ipv6 ? "[" : "",
                     options.host, is_ipv6 ? "]" : "", port);
}

// Owner: the server's thread, except load().
class Server {
 public:
  Server(const ServerOptions& options, const ServerEvents& events, LoadEngine load);
  ~Server();
  int run();

 private:
  void load();
  void loaded();
  void wait_for_signal();
  void on_signal(int number);
  void reread_keys();

  const ServerOptions& options_;
  const ServerEvents& events_;
  const LoadEngine load_;
  // Requests hold answers of the engine, and are destroyed with http_; the API's worker reads what they hold.
  std::unique_ptr<Engine> engine_;
  HttpServer http_;
  std::unique_ptr<Api> api_;
  std::shared_ptr<LiveFeed> feed_;
  asio::signal_set signals_;
  const std::string url_;
  int times_told_to_stop_ = 0;
  std::exception_ptr load_error_;  // loader's, until it has posted
  std::thread loader_;
};

Server::Server(const ServerOptions& options, const ServerEvents& events, LoadEngine load)
    : options_(options),
      events_(events),
      load_(std::move(load)),
      http_(with_keys(options.http, options.key_file), web_routes()),
      signals_(http_.context(), SIGTERM, SIGINT, SIGHUP),
      url_(url_of(options.http, http_.port())) {
  http_.set_starting("the model is being loaded");
}

Server::~Server() {
  if (loader_.joinable()) loader_.join();
}

int Server::run() {
  wait_for_signal();
  if (events_.listening) events_.listening(url_);
  loader_ = std::thread([this] { load(); });
  http_.run();
  loader_.join();
  if (load_error_) std::rethrow_exception(load_error_);
  return times_told_to_stop_ > 1 ? exit_code(Code::cancelled) : 0;
}

void Server::load() {
  std::unique_ptr<Engine> engine;
  try {
    engine = load_ ? load_() : std::make_unique<Engine>(options_.engine);
  } catch (...) {
    load_error_ = std::current_exception();
  }
  // A context that has stopped meanwhile destroys this unrun, and the engine with it.
  asio::post(http_.context(), [this, engine = std::move(engine)]() mutable {
    engine_ = std::move(engine);
    loaded();
  });
}

void Server::loaded() {
  if (load_error_) {
    http_.drain();
    http_.drain();
    return;
  }
  api_ =
      std::make_unique<Api>(*engine_, http_.context(),
                            ApiOptions{.model_name = options_.served_model,
                                       .defaults = options_.defaults,
                                       .more_metrics = [this] { return http_metrics_text(http_.counters()); },
                                       .images = options_.images});
  feed_ = make_live_feed(http_.context().get_executor(), *engine_);
  http_.add_routes(api_routes(*api_));
  http_.add_routes(live_routes(feed_));
  http_.set_starting("");
  if (times_told_to_stop_ > 0) return feed_->close();
  if (events_.ready) events_.ready(url_);
}

void Server::wait_for_signal() {
  signals_.async_wait([this](boost::system::error_code error, int number) {
    if (error) return;
    on_signal(number);
    if (times_told_to_stop_ < 2) wait_for_signal();
  });
}

void Server::on_signal(int number) {
  if (number == SIGHUP) return reread_keys();
  if (++times_told_to_stop_ == 1) {
    log().info("told to stop: running requests get {} s to finish", options_.http.drain_s);
  } else {
    log().warn("told to stop again: running requests are cut");
    boost::system::error_code ignored;
    signals_.clear(ignored);  // from here on the system's own way
  }
  if (feed_) feed_->close();
  http_.drain();
}

void Server::reread_keys() {
  try {
    std::vector<std::string> keys = current_keys(options_.key_file);
    log().info("SIGHUP: {} keys", keys.size());
    http_.set_keys(std::move(keys));
  } catch (const Error& error) {
    log().error("SIGHUP: the keys stay as they were: {}", error.what());
  }
}

}  // namespace

int run_server(const ServerOptions& options, const ServerEvents& events, LoadEngine load) {
  if (options.http.log_json) log_as_json();
  return Server(options, events, std::move(load)).run();
}

}  // namespace fastcache::server
