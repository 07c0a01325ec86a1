// SPDX-License-Identifier: Apache-2.0
#include "server/http_server.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <csignal>

#include "base/error.h"
#include "base/log.h"
#include "server/connection.h"
#include "server/listener.h"

namespace fastcache::server {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr size_t kRefusedAtOnce = 64;  // connections over the cap that are told why; more are just closed
constexpr auto kHandlersReturnIn = std::chrono::seconds(5);

ServerState make_state(HttpOptions options) {
  ServerState state;
  options.limits.max_connections = fitting_connections(options.limits.max_connections);
  state.cors = Cors(options.cors_origins);
  state.keys = ApiKeys(options.keys);
  if (options.tls_chain_file.empty() != options.tls_key_file.empty()) {
    throw Error{Code::bad_request, "TLS needs both a certificate file and a key file"};
  }
  if (!options.tls_chain_file.empty())
    state.tls = std::make_unique<TlsContext>(options.tls_chain_file, options.tls_key_file);
  state.shared.limits = options.limits;
  state.options = std::move(options);
  return state;
}

}  // namespace

// The state outlives the context, whose end destroys the coroutines that use it. But the handlers go first:
// they may hold timers of the context, and coroutines hold what they need of them themselves.
class HttpServer::Impl {
 public:
  explicit Impl(HttpOptions options)
      : state(make_state(std::move(options))),
        acceptor(make_listener(context, state.options)),
        timer(context),
        port(acceptor.local_endpoint().port()) {}
  ~Impl() { state.routes = {}; }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  asio::awaitable<void> accept_all();
  void try_accept(tcp::socket socket) noexcept;
  void accept(tcp::socket socket);
  asio::awaitable<void> serve(std::shared_ptr<Wire> wire, bool refused);
  void set_keys(const std::vector<std::string>& keys);
  void drain();
  void stop_now();
  void end_if_drained();

  ServerState state;
  asio::io_context context{1};
  tcp::acceptor acceptor;
  asio::steady_timer timer;  // of the drain
  const int port;
  bool stopping = false;
};

asio::awaitable<void> HttpServer::Impl::accept_all() {
  asio::steady_timer pause(context);
  while (acceptor.is_open()) {
    auto [ec, socket] = co_await acceptor.async_accept(asio::as_tuple(asio::use_awaitable));
    if (!ec) {
      try_accept(std::move(socket));
    } else if (acceptor.is_open() && ec != asio::error::connection_aborted) {
      log().warn("cannot accept a connection: {}", ec.message());
      pause.expires_after(
          std::chrono::milliseconds(100));  // out of files or memory: asking again at once would spin
      co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }
}

void HttpServer::Impl::accept(tcp::socket socket) {
  HttpCounters& counters = state.shared.counters;
  const size_t cap = static_cast<size_t>(state.options.limits.max_connections);
  const bool refused = state.wires.size() >= cap;
  ++(refused ? counters.connections_refused : counters.connections_accepted);
  if (state.wires.size() >= cap + kRefusedAtOnce) return;  // closes the socket
  const int handle = socket.native_handle();
  auto transport = state.tls ? state.tls->make_transport(handle) : make_plain_transport(handle);
  auto wire = std::make_shared<Wire>(std::move(socket), std::move(transport), state.shared);
  asio::co_spawn(context, serve(std::move(wire), refused), asio::detached);
}

// What one client's connection lacks must not end the others'.
void HttpServer::Impl::try_accept(tcp::socket socket) noexcept {
  try {
    accept(std::move(socket));
  } catch (const std::exception& error) {
    log().error("a new connection is dropped: {}", error.what());
  }
}

asio::awaitable<void> HttpServer::Impl::serve(std::shared_ptr<Wire> wire, bool refused) {
  if (refused) {
    co_await refuse_connection(std::move(wire), state);
  } else {
    co_await serve_connection(std::move(wire), state);
  }
  end_if_drained();
}

// An empty key file must not open a server that other machines reach.
void HttpServer::Impl::set_keys(const std::vector<std::string>& keys) {
  if (keys.empty() && !state.options.open_without_key && !state.options.keys.empty()) {
    log().error("the API keys stay as they are: there is none in the new list");
    return;
  }
  state.keys = ApiKeys(keys);
}

void HttpServer::Impl::drain() {
  if (state.draining) return stop_now();
  state.draining = true;
  error_code ignored;
  acceptor.close(ignored);
  const auto wires = state.wires;  // closing may end their coroutines
  for (Wire* wire : wires) {
    if (wire->idle) wire->close();
  }
  timer.expires_after(std::chrono::milliseconds(static_cast<int64_t>(state.options.drain_s * 1000)));
  timer.async_wait([this](error_code ec) {
    if (!ec) stop_now();
  });
  end_if_drained();
}

void HttpServer::Impl::stop_now() {
  if (stopping) return;
  stopping = true;
  const auto wires = state.wires;
  if (!wires.empty()) log().warn("{} connections are cut", wires.size());
  for (Wire* wire : wires) wire->fail();
  timer.expires_after(kHandlersReturnIn);
  timer.async_wait([this](error_code ec) {
    if (!ec) context.stop();
  });
  end_if_drained();
}

void HttpServer::Impl::end_if_drained() {
  if (state.draining && state.wires.empty()) context.stop();
}

HttpServer::HttpServer(HttpOptions options, std::vector<Route> routes)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
  add_routes(std::move(routes));
}

HttpServer::~HttpServer() = default;

void HttpServer::add_routes(std::vector<Route> routes) { impl_->state.routes.add(std::move(routes)); }
void HttpServer::set_starting(std::string reason) { impl_->state.starting = std::move(reason); }
asio::io_context& HttpServer::context() { return impl_->context; }
int HttpServer::port() const { return impl_->port; }
const HttpCounters& HttpServer::counters() const { return impl_->state.shared.counters; }

void HttpServer::run() {
  asio::co_spawn(impl_->context, impl_->accept_all(), asio::detached);
  while (true) {
    try {
      impl_->context.run();
      return;
    } catch (
        const std::exception& error) {  // of a function that was posted; one request's fault is no other's
      log().error("a fault on the server's thread: {}", error.what());
    }
  }
}

void HttpServer::drain() {
  asio::post(impl_->context, [impl = impl_.get()] { impl->drain(); });
}

void HttpServer::set_keys(std::vector<std::string> keys) {
  asio::post(impl_->context, [impl = impl_.get(), keys = std::move(keys)] { impl->set_keys(keys); });
}

}  // namespace fastcache::server
