// SPDX-License-Identifier: Apache-2.0
#include "engine/testing/loop_driver.h"

#include "engine/testing/loop_model.h"

namespace fastcache::engine::test_support {

DriverOptions loop_options(int pool_tokens, int step_tokens) {
  DriverOptions made{
      .pool_bytes = LoopModel::pool_for(pool_tokens), .reserve_pages = LoopModel::kReservePages, .loop = {}};
  made.loop.step_tokens = step_tokens;
  return made;
}

DriverOptions greedy_options(int pool_tokens) {
  DriverOptions made = loop_options(pool_tokens, 48);
  made.loop.max_running = 16;
  made.loop.scheduler.lookahead_tokens = 0;
  return made;
}

LoopDriver::LoopDriver(const model::LoadedModel& model, ComputePool& compute, const DriverOptions& options)
    : model_(model),
      kv_type_(options.kv_type),
      pool_({.head_dim = model.hparams.head_dim,
             .bytes = options.pool_bytes,
             .types = {options.kv_type},
             .reserve_pages = options.reserve_pages,
             .faults = options.faults}),
      loop_(model, compute, pool_, options.kv_type, options.loop, [this] { return now_ms_; }) {}

int LoopDriver::submit(const Request& request, std::function<void()> on_news) {
  return submit(prepare_request(request, model_, kv_type_, now_ms_), std::move(on_news));
}

int LoopDriver::submit(std::unique_ptr<RequestState> state, std::function<void()> on_news) {
  state->channel = std::make_shared<AnswerChannel>(std::move(on_news));
  channels_.push_back(state->channel);
  results_.push_back({.answers = std::vector<CollectedAnswer>(static_cast<size_t>(state->n)),
                      .error = {},
                      .summary = {},
                      .ended = false});
  loop_.add(std::move(state));
  return static_cast<int>(results_.size()) - 1;
}

const Collected& LoopDriver::collect(int request) {
  Collected& result = results_[static_cast<size_t>(request)];
  AnswerChannel& channel = *channels_[static_cast<size_t>(request)];
  while (!result.ended) {
    std::optional<Delta> delta;
    try {
      if (!channel.has_news()) break;
      delta = channel.next();
    } catch (const Error& error) {
      result.error = error.what();
      result.ended = true;
      break;
    }
    if (!delta) {
      result.ended = true;
      result.summary = channel.summary();
      break;
    }
    CollectedAnswer& answer = result.answers.at(static_cast<size_t>(delta->answer));
    answer.text += delta->text;
    for (const TokenInfo& token : delta->tokens) answer.tokens.push_back(token.id);
    answer.finished |= delta->finished;
    if (delta->finished) answer.finish = delta->finish;
  }
  return result;
}

void LoopDriver::step() {
  loop_.step();
  now_ms_ += 1;
  for (int i = 0; i < static_cast<int>(results_.size()); ++i) collect(i);
}

void LoopDriver::run_to_the_end(int max_steps) {
  for (int i = 0; loop_.has_work(); ++i) {
    if (i == max_steps) throw Error{Code::internal, "the loop does not come to its end"};
    step();
  }
}

Collected run_alone(const model::LoadedModel& model, ComputePool& compute, const Request& request,
                    kv::KvType kv_type) {
  LoopDriver driver(model, compute, {.pool_bytes = size_t{64} << 20, .kv_type = kv_type, .loop = {}});
  const int id = driver.submit(request);
  driver.run_to_the_end();
  return driver.collect(id);
}

}  // namespace fastcache::engine::test_support
