// SPDX-License-Identifier: Apache-2.0
// One request's answers on their way to the client: takes what the engine has and makes the events of a
// stream, or the whole answer. Owner: the server's thread.
//
// An answer that its deadline cuts off ends with the finish_reason "length"; `fastcache.finish` says
// "deadline". Where the deadline passes before any token the request fails with status 408.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/api_response.h"
#include "server/completion_start.h"
#include "server/logprobs_text.h"

namespace fastcache::server {

class CompletionRun {
 public:
  using Clock = std::chrono::steady_clock;

  // began: when the request arrived.
  CompletionRun(const Api& api, StartedCompletion started, const ResponseHead& head, Clock::time_point began);
  ~CompletionRun();  // what has not ended is cancelled, and counted so
  CompletionRun(const CompletionRun&) = delete;
  CompletionRun& operator=(const CompletionRun&) = delete;

  bool stream() const { return started_.call.stream; }
  const std::vector<std::shared_ptr<Answer>>& answers() const { return started_.answers; }

  // Takes what has come. Throws Error for a request that failed, or that the server ends.
  void poll();
  bool ended() const { return n_running_ == 0; }
  // Of a stream: what can go out by now, with its end once ended() is true.
  std::string take_events();
  std::string whole() const;  // once ended

 private:
  struct ChoiceState {
    std::unique_ptr<ChatParser> parser;
    std::optional<LogprobsText> logprobs;
    Choice whole;  // of a stream: finish_reason alone
    bool begun = false, open = true;
    Clock::time_point last_token{};
  };
  void poll_answers();
  void poll_answer(size_t prompt);
  void take(size_t index, Delta delta);
  void count_tokens(ChoiceState& choice, const Delta& delta);
  std::vector<ChatDelta> pieces(ChoiceState& choice, const Delta& delta);
  void write(size_t index, const std::vector<ChatDelta>& pieces);
  void finish(size_t index, Finish how);
  void end_answer(size_t prompt);
  void write_end();

  std::shared_ptr<Metrics> metrics_;
  StartedCompletion started_;
  ResponseHead head_;
  ChunkWriter writer_;
  Clock::time_point began_, now_;
  std::vector<ChoiceState> choices_;  // [prompts * n]
  std::vector<bool> answer_ended_;    // [prompts]
  std::vector<Summary> summaries_;    // [prompts], of those that ended
  size_t n_running_ = 0;              // answers, and
  size_t n_open_ = 0;                 // choices that have not ended
  size_t last_choice_ = 0;            // the one that ended last: its end waits for the figures
  bool has_token_ = false;
  const char* left_open_as_ = "abort";  // what choices that never end are counted as
  std::string finish_ = "stop";         // of the engine: "deadline" if it came to any choice
  std::string out_;
};

}  // namespace fastcache::server
