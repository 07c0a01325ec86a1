// SPDX-License-Identifier: Apache-2.0
#include "server/completion_run.h"

#include "engine/request_check.h"
#include "server/api_error.h"

namespace fastcache::server {
namespace {

double ms_between(CompletionRun::Clock::time_point from, CompletionRun::Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

[[noreturn]] void throw_deadline() {
  ApiError error{Code::cancelled, "the deadline passed before the first token", "deadline_ms"};
  error.status = 408;
  error.api_code = "deadline_exceeded";
  throw error;
}

[[noreturn]] void throw_stopped() {
  ApiError error{Code::cancelled, "the server stops; the request was ended", ""};
  error.status = 503;
  throw error;
}

}  // namespace

CompletionRun::CompletionRun(const Api& api, StartedCompletion started, const ResponseHead& head,
                             Clock::time_point began)
    : metrics_(api.metrics()),
      started_(std::move(started)),
      head_(head),
      writer_(head, started_.call.include_usage),
      began_(began),
      now_(began),
      answer_ended_(started_.answers.size()),
      summaries_(started_.answers.size()),
      n_running_(started_.answers.size()) {
  const auto n = static_cast<size_t>(started_.call.request.n);
  const int n_top = started_.call.request.sampling.logprobs;
  for (size_t i = 0; i < started_.answers.size() * n; ++i) {
    ChoiceState choice;
    if (started_.make_parser) choice.parser = started_.make_parser();
    if (n_top >= 0) {
      choice.logprobs.emplace(head.endpoint, n_top,
                              [&engine = api.engine()](int32_t token) { return engine.token_bytes(token); });
    }
    choice.whole.text = started_.echoes[i / n];
    choices_.push_back(std::move(choice));
  }
  n_open_ = choices_.size();
}

CompletionRun::~CompletionRun() {
  for (const ChoiceState& choice : choices_)
    if (choice.open) metrics_->answer_ended(left_open_as_);
}

void CompletionRun::poll() {
  now_ = Clock::now();
  try {
    poll_answers();
  } catch (const Error&) {
    left_open_as_ = "error";
    throw;
  }
  if (ended() && stream()) write_end();
}

void CompletionRun::poll_answers() {
  for (size_t prompt = 0; prompt < started_.answers.size(); ++prompt)
    if (!answer_ended_[prompt]) poll_answer(prompt);
}

void CompletionRun::poll_answer(size_t prompt) {
  const size_t first_choice = prompt * static_cast<size_t>(started_.call.request.n);
  while (true) {
    Delta delta;
    const Answer::Poll news = started_.answers[prompt]->poll(delta);
    if (news == Answer::Poll::nothing) return;
    if (news == Answer::Poll::ended) return end_answer(prompt);
    const size_t index = first_choice + static_cast<size_t>(delta.answer);
    take(index, std::move(delta));
  }
}

void CompletionRun::take(size_t index, Delta delta) {
  ChoiceState& choice = choices_[index];
  if (delta.finished && delta.finish == Finish::cancelled) throw_stopped();
  has_token_ = has_token_ || !delta.tokens.empty();
  if (delta.finished && delta.finish == Finish::deadline && !has_token_) throw_deadline();
  count_tokens(choice, delta);
  if (choice.logprobs) choice.logprobs->add(delta.tokens);
  const std::vector<ChatDelta> new_pieces = pieces(choice, delta);
  if (stream()) {
    write(index, new_pieces);
  } else {
    for (const ChatDelta& piece : new_pieces) choice.whole.add(piece);
  }
  if (delta.finished) finish(index, delta.finish);
}

void CompletionRun::count_tokens(ChoiceState& choice, const Delta& delta) {
  const int n_tokens = static_cast<int>(delta.tokens.size());
  if (n_tokens == 0) return;
  if (choice.last_token != Clock::time_point{})
    metrics_->tokens_arrived(ms_between(choice.last_token, now_) / n_tokens, n_tokens);
  choice.last_token = now_;
}

std::vector<ChatDelta> CompletionRun::pieces(ChoiceState& choice, const Delta& delta) {
  std::vector<ChatDelta> pieces;
  if (choice.parser != nullptr) {
    if (!delta.text.empty()) pieces = choice.parser->push(delta.text);
    if (delta.finished) {
      for (ChatDelta& piece : choice.parser->finish()) pieces.push_back(std::move(piece));
    }
  } else if (!delta.text.empty()) {
    pieces.push_back({.content = delta.text});
  }
  return pieces;
}

// Logprobs go with the text that they led to; where none can be shown yet they wait.
void CompletionRun::write(size_t index, const std::vector<ChatDelta>& pieces) {
  ChoiceState& choice = choices_[index];
  const int number = static_cast<int>(index);
  const bool chat = head_.endpoint == Endpoint::chat;
  if (!choice.begun) {
    choice.begun = true;
    if (chat)
      writer_.role(out_, number);
    else if (!choice.whole.text.empty())
      writer_.text(out_, number, choice.whole.text, {});
  }
  for (const ChatDelta& piece : pieces) {
    const std::string logprobs = choice.logprobs ? choice.logprobs->take() : "";
    if (chat)
      writer_.delta(out_, number, piece, logprobs);
    else
      writer_.text(out_, number, piece.content, logprobs);
  }
}

void CompletionRun::finish(size_t index, Finish how) {
  ChoiceState& choice = choices_[index];
  choice.open = false;
  choice.whole.finish_reason =
      finish_reason(how, choice.parser != nullptr && choice.parser->has_tool_calls());
  if (choice.logprobs) choice.whole.logprobs = choice.logprobs->take();
  if (finish_ != "deadline") finish_ = finish_name(how);
  metrics_->answer_ended(how == Finish::deadline ? "deadline" : choice.whole.finish_reason);
  last_choice_ = index;
  if (--n_open_ == 0 || !stream()) return;
  writer_.finish(out_, static_cast<int>(index), choice.whole.finish_reason, choice.whole.logprobs, {});
}

void CompletionRun::end_answer(size_t prompt) {
  answer_ended_[prompt] = true;
  --n_running_;
  summaries_[prompt] = started_.answers[prompt]->summary();
  metrics_->request_ended(summaries_[prompt], ms_between(began_, now_),
                          engine::press_params(started_.call.request.compression).name);
}

// The engine has said all: the last choice's end, and the figures with it or behind it.
void CompletionRun::write_end() {
  const Summary summary = sum_of(summaries_);
  const std::string figures = fastcache_json(summary, finish_);
  const Choice& last = choices_[last_choice_].whole;
  const bool has_usage = started_.call.include_usage;
  writer_.finish(out_, static_cast<int>(last_choice_), last.finish_reason, last.logprobs,
                 has_usage ? std::string_view{} : figures);
  if (has_usage) writer_.usage(out_, summary, figures);
  out_ += kStreamDone;
}

std::string CompletionRun::take_events() { return std::exchange(out_, {}); }

std::string CompletionRun::whole() const {
  std::vector<Choice> choices;
  for (const ChoiceState& choice : choices_) choices.push_back(choice.whole);
  return whole_response(head_, choices, sum_of(summaries_), finish_);
}

}  // namespace fastcache::server
