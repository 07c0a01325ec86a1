// SPDX-License-Identifier: Apache-2.0
// The public engine: one thread that owns the step loop, and an inbox.
#include "fastcache/engine.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/compute_pool.h"
#include "base/log.h"
#include "engine/request_check.h"
#include "engine/step_loop.h"
#include "model/models.h"

namespace fastcache {
namespace {

double steady_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

const char* finish_name(Finish finish) {
  switch (finish) {
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::cancelled:
      return "cancelled";
    case Finish::deadline:
      return "deadline";
    case Finish::failed:
      return "failed";
  }
  return "?";
}

struct Engine::Impl {
  explicit Impl(const EngineOptions& options)
      : max_waiting(options.max_waiting),
        kv_type(kv::parse_kv_type(options.kv_type)),
        compute(options.threads),
        model(model::find_model(options.model).string(), compute),
        pool({.head_dim = model.hparams.head_dim,
              .bytes = options.pool_bytes,
              .types = {kv_type},
              .reserve_pages = reserve_pages(model.hparams, options.pool_bytes)}),
        loop(model, compute, pool, kv_type,
             {.step_tokens = options.step_tokens,
              .max_running = options.max_running,
              .prefix_cache = options.prefix_cache,
              .policy = options.policy,
              .scheduler = {}},
             steady_ms) {
    published = loop.stats();
    thread = std::thread([this] { run(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    news.notify_all();
    thread.join();
  }

  // What a compression borrows in a full pool, to write a head's rows before it lets go of the old ones.
  static int reserve_pages(const model::HParams& hparams, size_t pool_bytes) {
    constexpr size_t kMost = 256, kShare = 64;
    return static_cast<int>(std::min(kMost, pool_bytes / kv::page_payload_bytes(hparams.head_dim) / kShare));
  }

  void run() {
    while (true) {
      std::vector<std::unique_ptr<engine::RequestState>> arrived;
      {
        std::unique_lock lock(mutex);
        if (!loop.has_work()) news.wait(lock, [&] { return stopping || !inbox.empty(); });
        if (stopping) break;
        arrived.swap(inbox);
      }
      for (auto& request : arrived) loop.add(std::move(request));
      loop.step();
      publish();
    }
    loop.cancel_all();
  }

  void publish() {
    const EngineStats stats = loop.stats();
    const std::lock_guard lock(mutex);
    published = stats;
  }

  std::shared_ptr<Answer> submit(const Request& request) {
    auto state = engine::prepare_request(request, model, steady_ms());
    auto channel = std::make_shared<engine::AnswerChannel>();
    state->channel = channel;
    {
      const std::lock_guard lock(mutex);
      if (published.waiting + static_cast<int>(inbox.size()) >= max_waiting) {
        throw Error{Code::overloaded, fmt::format("{} requests wait already; try again later", max_waiting)};
      }
      inbox.push_back(std::move(state));
    }
    news.notify_all();
    return engine::make_answer(std::move(channel));
  }

  const int max_waiting;
  const kv::KvType kv_type;
  ComputePool compute;  // engine thread, once it runs
  const model::LoadedModel model;
  kv::PagePool pool;      // engine thread
  engine::StepLoop loop;  // engine thread

  std::mutex mutex;
  std::condition_variable news;
  std::vector<std::unique_ptr<engine::RequestState>> inbox;  // under the mutex, like the two below
  EngineStats published;
  bool stopping = false;
  std::thread thread;
};

Engine::Engine(const EngineOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Engine::~Engine() = default;

std::shared_ptr<Answer> Engine::submit(Request request) { return impl_->submit(request); }

EngineStats Engine::stats() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->published;
}

}  // namespace fastcache
