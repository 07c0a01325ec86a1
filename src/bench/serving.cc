// SPDX-License-Identifier: Apache-2.0
#include "bench/serving.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

// Looks at the engine now and then from a thread of its own, which ends with it.
class PoolSampler {
 public:
  PoolSampler(const Engine& engine, double every_ms)
      : engine_(engine),
        every_(every_ms),
        samples_{engine.stats()},
        thread_([this](const std::stop_token& stop) {
          std::mutex mutex;
          std::condition_variable_any sleep;
          std::unique_lock lock(mutex);
          while (!sleep.wait_for(lock, stop, every_, [&] { return stop.stop_requested(); }))
            samples_.push_back(engine_.stats());
        }) {}

  std::vector<EngineStats> finish() {
    thread_.request_stop();
    thread_.join();
    return std::move(samples_);
  }

 private:
  const Engine& engine_;
  const Milliseconds every_;
  std::vector<EngineStats> samples_;  // the thread's while it runs
  std::jthread thread_;
};

// One repeat: the caller's thread submits, a thread for each request reads. An answer can only be waited for
// one at a time, so fewer readers would see some deltas late.
class ServingRun {
 public:
  ServingRun(Engine& engine, const ServingOptions& options)
      : engine_(engine), options_(options), prompts_(random_prompts(options.load)) {
    for (double planned_ms : arrival_times_ms(options.load)) {
      RequestRecord& record = records_.emplace_back();
      record.planned_ms = planned_ms;
      record.deltas.reserve(static_cast<size_t>(options.generate_tokens));
    }
  }

  std::vector<RequestRecord> run() {
    start_ = Clock::now();
    try {
      for (size_t i = 0; i < records_.size() && wait_for_arrival(i); ++i) submit(i);
    } catch (...) {
      stop_for(std::current_exception());
    }
    if (stopped())
      for (const auto& answer : answers_) answer->cancel();
    for (std::thread& reader : readers_) reader.join();
    if (error_ != nullptr) std::rethrow_exception(error_);
    return std::move(records_);
  }

 private:
  // False: the benchmark has come to an end before.
  bool wait_for_arrival(size_t i) {
    std::unique_lock lock(mutex_);
    const auto planned =
        start_ + std::chrono::duration_cast<Clock::duration>(Milliseconds(records_[i].planned_ms));
    return !news_.wait_until(lock, planned, [&] { return error_ != nullptr; });
  }

  void submit(size_t i) {
    Request request;
    request.tokens = std::move(prompts_[i]);
    request.max_tokens = options_.generate_tokens;
    request.sampling.ignore_eos = true;
    request.compression = options_.compression;
    try {
      answers_.push_back(engine_.submit(std::move(request)));
    } catch (const Error& error) {
      if (error.code() != Code::overloaded) throw;
      return;
    }
    try {
      readers_.emplace_back(
          [this, answer = answers_.back(), record = &records_[i]] { read(*answer, *record); });
    } catch (const std::system_error& error) {
      throw Error{Code::io, fmt::format("the system starts no thread beyond {} readers ({}); ask for fewer "
                                        "requests",
                                        readers_.size(), error.code().message())};
    }
  }

  void read(Answer& answer, RequestRecord& record) {
    int tokens = 0;
    try {
      while (const auto delta = answer.next()) {
        const double ms = Milliseconds(Clock::now() - start_).count();
        const int n = static_cast<int>(delta->tokens.size());
        if (n > 0) record.deltas.push_back({ms, n});
        tokens += n;
      }
      record.summary = answer.summary();
      record.completed = tokens == options_.generate_tokens;
    } catch (...) {
      stop_for(std::current_exception());
    }
  }

  void stop_for(std::exception_ptr error) {
    {
      const std::lock_guard lock(mutex_);
      if (error_ == nullptr) error_ = std::move(error);
    }
    news_.notify_all();
  }

  bool stopped() {
    const std::lock_guard lock(mutex_);
    return error_ != nullptr;
  }

  Engine& engine_;
  const ServingOptions& options_;
  std::vector<std::vector<int32_t>> prompts_;
  std::vector<RequestRecord> records_;  // each its reader's until that is joined
  std::vector<std::shared_ptr<Answer>> answers_;
  std::vector<std::thread> readers_;
  Clock::time_point start_;

  std::mutex mutex_;
  std::condition_variable news_;
  std::exception_ptr error_;  // the first; under the mutex
};

void check(const ServingOptions& options) {
  check(options.load);
  if (options.load.requests > kMostServingRequests) {
    throw Error{Code::bad_request, fmt::format("{} requests; there must be at most {}", options.load.requests,
                                               kMostServingRequests)};
  }
  if (options.generate_tokens < 1) {
    throw Error{Code::bad_request,
                fmt::format("answers of {} tokens; they must have at least 1", options.generate_tokens)};
  }
  const int64_t tokens = int64_t{options.load.prompt_tokens} + options.generate_tokens;
  if (tokens > options.context_tokens) {
    throw Error{
        Code::context_too_long,
        fmt::format("prompts of {} tokens and answers of {} are longer than the model's context of {}",
                    options.load.prompt_tokens, options.generate_tokens, options.context_tokens)};
  }
}

// Weights come into memory and the compute threads awake, at a stranger's cost.
void warm_up(Engine& engine) {
  Request request;
  request.tokens = {1};
  request.max_tokens = 1;
  request.tenant = "warm-up";
  try {
    const auto answer = engine.submit(std::move(request));
    while (answer->next()) {
    }
  } catch (const Error& error) {
    // The benchmark's own requests say it of themselves.
    if (error.code() != Code::pool_too_small && error.code() != Code::overloaded) throw;
  }
}

ServingResult run_once(const ServingOptions& options) {
  Engine engine(options.engine);
  warm_up(engine);
  PoolSampler sampler(engine, options.sample_ms);
  const std::vector<RequestRecord> records = ServingRun(engine, options).run();
  return summarise(records, sampler.finish());
}

}  // namespace

ServingResult run_serving(const ServingOptions& options) {
  check(options);
  std::vector<ServingResult> results;
  for (int i = 0; i < std::max(options.repeats, 1); ++i) {
    options.progress(
        fmt::format("{} requests, repeat {} of {}", options.load.requests, i + 1, options.repeats));
    results.push_back(run_once(options));
  }
  const auto middle = results.begin() + static_cast<std::ptrdiff_t>((results.size() - 1) / 2);
  std::nth_element(results.begin(), middle, results.end(),
                   [](const auto& a, const auto& b) { return a.duration_s < b.duration_s; });
  return *middle;
}

}  // namespace fastcache::bench
