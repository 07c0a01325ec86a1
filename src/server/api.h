// SPDX-License-Identifier: Apache-2.0
// The OpenAI-compatible API over one engine: what its endpoints share. Owner: the server's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "fastcache/engine.h"
#include "server/api_request.h"
#include "server/image_source.h"
#include "server/metrics.h"

namespace fastcache::server {

struct ApiOptions {
  std::string model_name = {};            // what clients call the model; empty: as its file
  std::vector<std::string> aliases = {};  // other names for it
  ApiDefaults defaults = {};
  std::function<std::string()> more_metrics = {};  // whole families for /metrics; server's thread
  ImageOptions images = {};
  RemoteImageSeams image_seams = {};  // tests alone
};

// Engine and io_context must outlive it. It is destroyed once the io_context no longer runs; handlers that
// still wait then may be destroyed after it.
class Api {
 public:
  Api(Engine& engine, boost::asio::io_context& io, ApiOptions options);
  ~Api();  // waits for what its worker is at
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  Engine& engine() const { return engine_; }
  boost::asio::io_context& io() const { return io_; }
  const ApiOptions& options() const { return options_; }
  const std::string& model_name() const { return options_.model_name; }
  const std::string& fingerprint() const { return fingerprint_; }  // of the program and the model
  int64_t started() const { return started_; }                     // seconds since 1970
  const std::shared_ptr<Metrics>& metrics() const { return metrics_; }
  ImageSource& images() { return images_; }

  // Throws ApiError (not_found) unless it is empty, the model's name or an alias. Any thread.
  void check_model(std::string_view name) const;

  // Work that takes long for the server's thread (a long prompt's tokens) is done on another one, in order.
  // Passes on what work throws. What it refers to must live until then.
  template <class Work>
  boost::asio::awaitable<std::invoke_result_t<Work>> on_worker(Work work) {
    co_return co_await boost::asio::co_spawn(worker_, run(std::move(work)), boost::asio::use_awaitable);
  }

 private:
  template <class Work>
  static boost::asio::awaitable<std::invoke_result_t<Work>> run(Work work) {
    co_return work();
  }

  Engine& engine_;
  boost::asio::io_context& io_;
  ApiOptions options_;
  std::string fingerprint_;
  int64_t started_ = 0;
  std::shared_ptr<Metrics> metrics_;
  ImageSource images_;
  boost::asio::thread_pool worker_{1};
};

int64_t seconds_since_1970();

}  // namespace fastcache::server
