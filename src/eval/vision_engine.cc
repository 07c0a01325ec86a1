// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_engine.h"

#include <algorithm>
#include <memory>

#include "base/waker.h"
#include "eval/vision_message.h"
#include "eval/vision_score.h"

namespace fastcache::eval {
namespace {

class Asker {
 public:
  Asker(Engine& engine, std::span<const VisionQuestion> questions, const AskOptions& options)
      : engine_(engine), questions_(questions), options_(options), answers_(questions.size()) {}

  std::vector<VisionAnswer> run() {
    for (size_t next = 0; go_on();) {
      for (; next < questions_.size() && in_flight_.size() < limit(); ++next) start(next);
      if (in_flight_.empty()) break;
      waker_->wait();
      std::erase_if(in_flight_, [this](InFlight& one) { return read(one); });
    }
    for (InFlight& one : in_flight_) answers_[one.question] = {};
    return std::move(answers_);
  }

 private:
  struct InFlight {
    size_t question = 0;
    std::shared_ptr<fastcache::Answer> answer;
  };

  size_t limit() const { return static_cast<size_t>(std::max(options_.concurrency, 1)); }
  bool go_on() const {
    return !options_.progress || options_.progress(n_done_, static_cast<int>(questions_.size()), "questions");
  }

  void start(size_t question) {
    try {
      Request request{.messages = {user_message(questions_[question], options_.blind)},
                      .max_tokens = options_.answer_tokens};
      request.sampling.temperature = 0;
      in_flight_.push_back(
          {question, engine_.submit(std::move(request), [waker = waker_] { waker->wake(); })});
    } catch (const Error& error) {
      fail(question, error.what());
    }
  }

  // True: it has ended.
  bool read(InFlight& one) {
    VisionAnswer& answer = answers_[one.question];
    try {
      while (true) {
        Delta delta;
        const auto news = one.answer->poll(delta);
        if (news == fastcache::Answer::Poll::nothing) return false;
        if (news == fastcache::Answer::Poll::ended) break;
        answer.text += delta.text;
        if (delta.finished && delta.finish != Finish::stop && delta.finish != Finish::length)
          answer.error = finish_name(delta.finish);
      }
    } catch (const Error& error) {
      answer.error = error.what();
    }
    if (answer.error.empty()) answer.score = score_answer(questions_[one.question], answer.text);
    answer.asked = true;
    ++n_done_;
    return true;
  }

  void fail(size_t question, const std::string& why) {
    answers_[question] = {.asked = true, .error = why};
    ++n_done_;
  }

  Engine& engine_;
  const std::span<const VisionQuestion> questions_;
  const AskOptions& options_;
  std::vector<VisionAnswer> answers_;
  std::vector<InFlight> in_flight_;
  std::shared_ptr<Waker> waker_ = std::make_shared<Waker>();  // the engine may call it after we are gone
  int n_done_ = 0;
};

}  // namespace

std::vector<VisionAnswer> ask_engine(Engine& engine, std::span<const VisionQuestion> questions,
                                     const AskOptions& options) {
  return Asker(engine, questions, options).run();
}

}  // namespace fastcache::eval
