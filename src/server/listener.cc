// SPDX-License-Identifier: Apache-2.0
#include "server/listener.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kOtherFiles = 64;  // model, log, epoll, refused connections that still hear why

tcp::endpoint resolve(asio::io_context& context, const HttpOptions& options) {
  if (options.port < 0 || options.port > 65535) {
    throw Error{Code::bad_request, fmt::format("port {} must be in 0..65535", options.port)};
  }
  error_code ec;
  tcp::resolver resolver(context);
  const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, ec);
  if (ec || found.empty()) {
    throw Error{Code::bad_request,
                fmt::format("host '{}' is no address of this machine: {}", options.host, ec.message())};
  }
  return found.begin()->endpoint();
}

void check_may_listen(const tcp::endpoint& endpoint, const HttpOptions& options) {
  if (endpoint.address().is_loopback() || !options.keys.empty() || options.open_without_key) return;
  throw Error{
      Code::bad_request,
      fmt::format(
          "other machines can reach {}: give an API key, or say that the server may be open without one",
          endpoint.address().to_string())};
}

}  // namespace

tcp::acceptor make_listener(asio::io_context& context, const HttpOptions& options) {
  const tcp::endpoint endpoint = resolve(context, options);
  check_may_listen(endpoint, options);
  error_code ec;
  tcp::acceptor acceptor(context);
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(asio::socket_base::max_listen_connections, ec);
  if (ec) {
    throw Error{Code::io, fmt::format("cannot listen on {} port {}: {}", endpoint.address().to_string(),
                                      options.port, ec.message())};
  }
  return acceptor;
}

int fitting_connections(int wanted) {
  rlimit files = {};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return wanted;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::getrlimit(RLIMIT_NOFILE, &files);
  const rlim_t others = kOtherFiles * 2;
  const rlim_t room = files.rlim_cur > others ? files.rlim_cur - others : 1;
  const int fitting = static_cast<int>(std::min<rlim_t>(static_cast<rlim_t>(std::max(wanted, 1)), room));
  if (fitting < wanted) {
    log().warn("{} connections at most, not {}: the system allows this process {} open files (ulimit -n)",
               fitting, wanted, static_cast<uint64_t>(files.rlim_cur));
  }
  return fitting;
}

}  // namespace fastcache::server
