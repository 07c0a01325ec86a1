// SPDX-License-Identifier: Apache-2.0
// Drives a StepLoop without threads: requests arrive at given steps, answers are collected. For tests.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/request_check.h"
#include "engine/step_loop.h"

namespace fastcache::engine::test_support {

struct DriverOptions {
  size_t pool_bytes = size_t{8} << 20;
  kv::KvType kv_type = kv::KvType::bf16;
  int reserve_pages = 16;
  StepLoopOptions loop;
  kv::AllocationFaults* faults = nullptr;
};

// Of LoopModel, in a pool for so many tokens.
DriverOptions loop_options(int pool_tokens, int step_tokens = StepLoopOptions{}.step_tokens);
// The same with small steps that admit what they will have to preempt.
DriverOptions greedy_options(int pool_tokens);

struct CollectedAnswer {
  std::vector<int32_t> tokens;
  std::string text;
  bool finished = false;
  Finish finish = Finish::failed;
  bool operator==(const CollectedAnswer&) const = default;
};

struct Collected {
  std::vector<CollectedAnswer> answers;  // [n]
  std::string error;                     // of a request that failed
  Summary summary;
  bool ended = false;
};

class LoopDriver {
 public:
  LoopDriver(const model::LoadedModel& model, ComputePool& compute, const DriverOptions& options);

  ~LoopDriver() { loop_.cancel_all(); }  // of a test that failed: answers go before the pool

  // A handle for the calls below; throws as prepare_request(). on_news: as Engine::submit()'s.
  int submit(const Request& request, std::function<void()> on_news = {});
  int submit(std::unique_ptr<RequestState> prepared, std::function<void()> on_news = {});
  void cancel(int request) { channels_[static_cast<size_t>(request)]->cancel(); }
  void step();                                     // and a millisecond passes
  void run_to_the_end(int max_steps = 1'000'000);  // throws Error (internal) when it does not come
  Collected& result(int request) { return results_[static_cast<size_t>(request)]; }
  const Collected& collect(int request);  // all that has come by now

  StepLoop& loop() { return loop_; }
  kv::PagePool& pool() { return pool_; }
  void pass_ms(double ms) { now_ms_ += ms; }

 private:
  const model::LoadedModel& model_;
  kv::KvType kv_type_;
  kv::PagePool pool_;
  double now_ms_ = 0;
  StepLoop loop_;
  std::vector<std::shared_ptr<AnswerChannel>> channels_;
  std::vector<Collected> results_;
};

// What one request gives alone in a large pool.
Collected run_alone(const model::LoadedModel& model, ComputePool& compute, const Request& request,
                    kv::KvType kv_type = kv::KvType::bf16);

}  // namespace fastcache::engine::test_support
