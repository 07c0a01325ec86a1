// SPDX-License-Identifier: Apache-2.0
// The engine's loop, one step at a time: ask the scheduler, carry out its plan, hand out tokens.
// Owner: the engine thread. Uses the compute threads for the model, sampling and compression. Requests come
// in through add(), answers leave through their channels.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/compute_pool.h"
#include "engine/policy.h"
#include "engine/prefix_cache.h"
#include "engine/request_state.h"
#include "engine/scheduler.h"
#include "kv/page_pool.h"
#include "model/loaded_model.h"
#include "model/runner.h"

namespace fastcache::engine {

struct StepLoopOptions {
  int step_tokens = 512;
  int max_running = 256;
  bool prefix_cache = true;
  std::string policy = "dynamic";
  double itl_target_ms = PolicyConfig{}.itl_target_ms;
  SchedulerConfig scheduler;
  const model::LoraAdapter* lora = nullptr;  // of requests with pictures; outlives the loop
};

class StepLoop {
 public:
  // now_ms: any clock that never goes back. The pool must be this loop's alone. Throws Error: bad_request.
  StepLoop(const model::LoadedModel& model, ComputePool& compute, kv::PagePool& pool, kv::KvType kv_type,
           const StepLoopOptions& options, std::function<double()> now_ms);

  // A request with an error fails of it. One whose pictures are not encoded must have been cancelled, or its
  // deadline have passed.
  void add(std::unique_ptr<RequestState> request);
  bool has_work() const { return !answers_.empty(); }
  void step();
  void cancel_all();  // as if everybody had cancelled

  EngineStats stats() const;
  // Of the first `most` requests, in order of arrival. Walks their block tables.
  std::vector<RequestFigures> figures(size_t most) const;
  const kv::CacheShape& shape() const { return shape_; }
  double now_ms() const { return now_ms_(); }
  // Throws Error (internal) when pool, sequences and cache disagree. Walks everything: for tests.
  void check() const;
  PrefixCache& prefix_cache() { return cache_; }

 private:
  struct Sample {  // one token to draw
    AnswerState* answer = nullptr;
    size_t logit_row = 0;
    SampledToken token;
    std::exception_ptr error;
  };

  // What the scheduler is told (step_views.cc).
  WaitingRequest waiting_view(const AnswerState& answer, bool ask_cache) const;
  RunningRequest running_view(const AnswerState& answer, bool pages_are_scarce) const;
  int64_t most_bias_pages(int n_rows) const;
  Plan make_plan();
  int cached_tokens(const AnswerState& answer, bool& compressed) const;
  int rows_at_most(const AnswerState& answer) const;
  int64_t pages_at_most(const AnswerState& answer) const;

  void choose_adapter(RequestState& request) const;

  // Carrying out a plan (step_loop.cc).
  void end_cancelled();
  void refuse(AnswerState& answer);
  void admit(AnswerState& answer);
  void preempt(AnswerState& answer);
  void compress(AnswerState& answer);
  bool run_press(AnswerState& answer);
  bool make_room_for_compression(const AnswerState& answer, size_t n_pages);

  // The batch (step_batch.cc).
  bool run_batch(const std::vector<BatchItem>& items);
  bool append(AnswerState& answer, int n_tokens);
  int tokens_to_feed(AnswerState& answer, int granted, std::span<AnswerState* const> batch);
  bool make_room_for_picture(const AnswerState& answer, int n_tokens, std::span<AnswerState* const> batch);
  void prepare_record(AnswerState& answer, int fed);
  void observe_attention(AnswerState& answer);
  void draw(std::vector<Sample>& samples, std::span<const float> logits);
  void free_unseen(AnswerState& answer);
  void add_samples(AnswerState& answer, size_t logit_row, std::vector<Sample>& samples);
  void after_feeding(AnswerState& answer);

  // Extra passes for the press (second_pass.cc).
  void begin_compression(AnswerState& answer);
  void end_probe(AnswerState& answer);
  static void end_second_pass(AnswerState& answer, model::QueryRecord record);
  static void leave_second_pass(AnswerState& answer);  // in the middle: an end, or a preemption

  // Tokens and ends (step_answers.cc).
  void take_token(AnswerState& answer, const SampledToken& token);
  void finish(AnswerState& answer, Finish how, Delta last = {});
  void end_now(AnswerState& answer, Finish how);  // and what waits for its rows
  void fail(RequestState& request, std::exception_ptr error);
  void start_siblings(AnswerState& answer);
  void retire(AnswerState& answer);  // leaves answers_; its rows may stay in the prefix cache
  void remember(AnswerState& answer);
  void close(RequestState& request, std::exception_ptr error);
  std::unique_ptr<AnswerState> make_answer_state(std::shared_ptr<RequestState> request, int index,
                                                 Sampler sampler) const;

  const model::LoadedModel& model_;
  ComputePool& compute_;
  kv::PagePool& pool_;
  const StepLoopOptions options_;
  std::function<double()> now_ms_;
  kv::CacheShape shape_;
  const std::vector<const linear::PackedMatrix*> output_weights_;  // the model's W_O, for presses
  model::Runner runner_;
  PrefixCache cache_;
  Scheduler scheduler_;
  std::map<RequestId, std::unique_ptr<AnswerState>> answers_;  // in order of arrival
  std::vector<std::unique_ptr<AnswerState>> retired_;  // until the step ends: it may still look at them
  RequestId next_id_ = 1;
  uint64_t next_number_ = 1;  // of a request
  EngineStats totals_;
};

}  // namespace fastcache::engine
