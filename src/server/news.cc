// SPDX-License-Identifier: Apache-2.0
#include "server/news.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fastcache::server {

namespace asio = boost::asio;

struct News::Signal::Shared {
  std::mutex mutex;
  asio::io_context* io = nullptr;  // under the mutex, like `posted`; null: nobody waits any more
  bool posted = false;
  News* news = nullptr;  // server's thread
};

News::News(asio::io_context& io)
    : shared_(std::make_shared<Signal::Shared>()), timer_(io, asio::steady_timer::time_point::max()) {
  shared_->io = &io;
  shared_->news = this;
}

News::~News() {
  shared_->news = nullptr;
  const std::lock_guard lock(shared_->mutex);
  shared_->io = nullptr;
}

void News::Signal::operator()() const noexcept {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->io == nullptr || shared_->posted) return;
  shared_->posted = true;
  asio::post(*shared_->io, [shared = shared_] {
    {
      const std::lock_guard inner(shared->mutex);
      shared->posted = false;
    }
    if (shared->news == nullptr) return;
    shared->news->arrived_ = true;
    shared->news->timer_.cancel();
  });
}

asio::awaitable<void> News::wait() {
  while (!arrived_) co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  arrived_ = false;
}

}  // namespace fastcache::server
