// SPDX-License-Identifier: Apache-2.0
// Fetches pictures that a request names by URL, from hosts that the server's owner named, and never from
// another address than a public one. Owner: the server's thread; nothing here blocks it.
//
// The host's name is looked up once, its addresses are checked (address_guard.h), and the connection goes to
// the very address that was checked: a name that changes its mind in between gains nothing. Redirects are
// followed, a few, each checked like the first address. Certificates are verified; no proxy, no cookies, no
// compression.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace fastcache::server {

struct RemoteImageOptions {
  std::vector<std::string> hosts = {};  // as is_allowed() compares them; none: nothing is fetched
  size_t max_bytes = size_t{20} << 20;  // of a picture's file
  int64_t timeout_ms = 10'000;          // for a picture, redirects and the look-up of names included
};

// What tests replace; no setting leads here.
struct RemoteImageSeams {
  using Endpoints = std::vector<boost::asio::ip::tcp::endpoint>;
  // Calls back once on the server's thread, with nothing if there is no such host. Empty: the system's.
  std::function<void(const std::string& host, uint16_t port, std::function<void(Endpoints)> found)> resolve =
      {};
  std::function<bool(const boost::asio::ip::address&)> may_ask = {};  // empty: is_public
  std::string trusted_file = {};  // PEM, trusted besides what the system trusts
};

class RemoteImages {
 public:
  RemoteImages(boost::asio::io_context& io, RemoteImageOptions options, RemoteImageSeams seams = {});
  ~RemoteImages();  // after its fetches
  RemoteImages(const RemoteImages&) = delete;
  RemoteImages& operator=(const RemoteImages&) = delete;

  // A fetch that can be stopped from outside.
  class Fetch {
   public:
    virtual ~Fetch() = default;
    // The picture's bytes. Throws Error (bad_request: what is wrong with URL, host or answer); ClientGone
    // after stop(). Once.
    virtual boost::asio::awaitable<std::vector<uint8_t>> run(std::string url) = 0;
    virtual void stop() = 0;  // at any time; run() ends soon
  };
  std::shared_ptr<Fetch> make_fetch();

  // Throws Error before anything is asked: unsupported where no host is allowed, bad_request for one that is
  // not, or a URL that is none.
  void check(const std::string& url) const;

 private:
  struct Shared;
  class Download;
  std::shared_ptr<const Shared> shared_;
};

}  // namespace fastcache::server
