// SPDX-License-Identifier: Apache-2.0
#include "engine/answer_channel.h"

#include <utility>

namespace fastcache::engine {
namespace {

class Handle final : public Answer {
 public:
  explicit Handle(std::shared_ptr<AnswerChannel> channel) : channel_(std::move(channel)) {}
  ~Handle() override { channel_->cancel(); }
  std::optional<Delta> next() override { return channel_->next(); }
  Poll poll(Delta& delta) override { return channel_->poll(delta); }
  Summary summary() const override { return channel_->summary(); }
  void cancel() override { channel_->cancel(); }

 private:
  std::shared_ptr<AnswerChannel> channel_;
};

}  // namespace

void AnswerChannel::push(Delta delta) {
  {
    const std::lock_guard lock(mutex_);
    deltas_.push_back(std::move(delta));
  }
  tell();
}

void AnswerChannel::close(std::exception_ptr error, const Summary& summary) {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    error_ = std::move(error);
    summary_ = summary;
  }
  tell();
}

void AnswerChannel::end(const Summary& summary) { close(nullptr, summary); }

void AnswerChannel::fail(std::exception_ptr error, const Summary& summary) {
  close(std::move(error), summary);
}

void AnswerChannel::tell() {
  news_.notify_all();
  if (on_news_) on_news_();
}

Answer::Poll AnswerChannel::take(Delta& delta) {
  if (deltas_.empty()) {
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
    return Answer::Poll::ended;
  }
  delta = std::move(deltas_.front());
  deltas_.pop_front();
  return Answer::Poll::delta;
}

std::optional<Delta> AnswerChannel::next() {
  std::unique_lock lock(mutex_);
  news_.wait(lock, [&] { return !deltas_.empty() || ended_; });
  Delta delta;
  return take(delta) == Answer::Poll::delta ? std::optional(std::move(delta)) : std::nullopt;
}

Answer::Poll AnswerChannel::poll(Delta& delta) {
  const std::lock_guard lock(mutex_);
  return deltas_.empty() && !ended_ ? Answer::Poll::nothing : take(delta);
}

bool AnswerChannel::has_news() const {
  const std::lock_guard lock(mutex_);
  return !deltas_.empty() || ended_;
}

Summary AnswerChannel::summary() const {
  const std::lock_guard lock(mutex_);
  return summary_;
}

std::shared_ptr<Answer> make_answer(std::shared_ptr<AnswerChannel> channel) {
  return std::make_shared<Handle>(std::move(channel));
}

}  // namespace fastcache::engine
