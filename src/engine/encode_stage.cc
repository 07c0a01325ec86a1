// SPDX-License-Identifier: Apache-2.0
#include "engine/encode_stage.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/log.h"

namespace fastcache::engine {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr int kWorkerNice = 5;

// From one slice to the next the worker needs microseconds, but for the step from picture to picture.
constexpr double kBetweenSlices_ms = 0.3;

bool is_over(const RequestState& request, double now_ms) {
  return request.error != nullptr || request.channel->cancelled() || request.deadline_ms <= now_ms;
}

bool is_complete(const RequestState& request) {
  return std::all_of(request.pictures.begin(), request.pictures.end(),
                     [](const PictureState& picture) { return picture.embeddings != nullptr; });
}

}  // namespace

EncodeStage::EncodeStage(model::VisionEncoder& encoder, size_t cache_bytes, std::function<void()> on_news)
    : encoder_(encoder), on_news_(std::move(on_news)), cache_(cache_bytes), worker_([this] { work(); }) {}

EncodeStage::~EncodeStage() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  for_worker_.notify_all();
  worker_.join();
}

void EncodeStage::add(std::unique_ptr<RequestState> request) {
  std::vector<Job> jobs;
  for (PictureState& picture : request->pictures) {
    ++counts_.cache_queries;
    picture.embeddings = cache_.find(picture.digest);
    if (picture.embeddings != nullptr) picture.pixels.reset();
    const bool known = picture.embeddings != nullptr || on_their_way_.contains(picture.digest);
    if (known)
      ++counts_.cache_hits;
    else
      jobs.push_back({picture.digest, picture.pixels});
    if (!known) on_their_way_.insert(picture.digest);
  }
  waiting_.push_back(std::move(request));
  if (!jobs.empty()) enqueue(std::move(jobs));
}

bool EncodeStage::has_news() const {
  const std::lock_guard lock(mutex_);
  return slice_ != nullptr || !done_.empty();
}

ggml_cgraph* EncodeStage::wait_for_slice(double ms) {
  std::unique_lock lock(mutex_);
  if (ms > 0 && working_)
    for_engine_.wait_for(lock, Milliseconds(ms), [&] { return slice_ != nullptr || !working_; });
  return slice_;
}

void EncodeStage::run_slices(ComputePool& compute, double budget_ms) {
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(Milliseconds(budget_ms));
  double wait_ms = 0;
  while (ggml_cgraph* slice = wait_for_slice(wait_ms)) {
    std::exception_ptr failure;
    try {
      compute.compute(slice);
    } catch (const Error&) {
      failure = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      slice_ = nullptr;
      if (failure != nullptr) failure_ = failure;
    }
    for_worker_.notify_all();
    if (Clock::now() >= end) return;
    wait_ms = kBetweenSlices_ms;
  }
}

// The worker: a slice is run by the engine thread, or never.
bool EncodeStage::run_slice_elsewhere(ggml_cgraph* slice) {
  std::unique_lock lock(mutex_);
  if (stopping_ || give_up_) return false;
  slice_ = slice;
  for_engine_.notify_all();
  lock.unlock();
  on_news_();
  lock.lock();
  for_worker_.wait(lock, [&] { return slice_ == nullptr || stopping_; });
  return slice_ == nullptr && !give_up_ && failure_ == nullptr;
}

EncodeStage::Done EncodeStage::encode(const Job& job) {
  Done done{.digest = job.digest, .embeddings = nullptr, .error = nullptr};
  try {
    const model::PictureView view = model::view_of(*job.pixels);
    auto encoded = encoder_.encode(std::span(&view, 1),
                                   [this](ggml_cgraph* slice) { return run_slice_elsewhere(slice); });
    if (encoded)
      done.embeddings = std::make_shared<const std::vector<float>>(std::move(encoded->front().embeddings));
  } catch (...) {
    done.error = std::current_exception();
  }
  return done;
}

void EncodeStage::work() {
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kWorkerNice);  // of this thread alone; best effort
  std::unique_lock lock(mutex_);
  while (true) {
    for_worker_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    at_work_ = job.digest;
    working_ = true;
    give_up_ = false;
    failure_ = nullptr;
    lock.unlock();
    Done done = encode(job);
    job.pixels.reset();
    lock.lock();
    working_ = false;
    slice_ = nullptr;
    if (failure_ != nullptr) done.error = failure_;
    done_.push_back(std::move(done));
    for_engine_.notify_all();
    lock.unlock();
    on_news_();
    lock.lock();
  }
}

void EncodeStage::take_done() {
  std::deque<Done> done;
  {
    const std::lock_guard lock(mutex_);
    done.swap(done_);
  }
  for (const Done& picture : done) {
    on_their_way_.erase(picture.digest);
    if (picture.embeddings != nullptr) {
      ++counts_.encoded;
      cache_.insert(picture.digest, picture.embeddings);
    }
    for (auto& request : waiting_) {
      for (PictureState& wanted : request->pictures)
        if (wanted.digest == picture.digest && wanted.embeddings == nullptr)
          hand_out(picture, *request, wanted);
    }
  }
}

void EncodeStage::hand_out(const Done& done, RequestState& request, PictureState& wanted) {
  if (done.error != nullptr) {
    request.error = done.error;
  } else if (done.embeddings != nullptr) {
    wanted.embeddings = done.embeddings;
    wanted.pixels.reset();
    request.encoded_ms = 0;                               // it did wait; take_ready() says until when
  } else if (on_their_way_.insert(done.digest).second) {  // given up just before somebody else asked for it
    enqueue({{done.digest, wanted.pixels}});
  }
}

void EncodeStage::enqueue(std::vector<Job> jobs) {
  {
    const std::lock_guard lock(mutex_);
    for (Job& job : jobs) queue_.push_back(std::move(job));
  }
  for_worker_.notify_all();
}

bool EncodeStage::is_wanted(const Hash128& digest) const {
  for (const auto& request : waiting_) {
    for (const PictureState& picture : request->pictures)
      if (picture.digest == digest) return true;
  }
  return false;
}

void EncodeStage::drop_unwanted() {
  const std::lock_guard lock(mutex_);
  std::erase_if(queue_, [&](const Job& job) {
    const bool unwanted = !is_wanted(job.digest);
    if (unwanted) on_their_way_.erase(job.digest);
    return unwanted;
  });
  if (working_ && !is_wanted(at_work_)) give_up_ = true;
}

std::vector<std::unique_ptr<RequestState>> EncodeStage::take_ready(double now_ms) {
  take_done();
  std::vector<std::unique_ptr<RequestState>> ready;
  bool left_unfinished = false;
  for (auto& request : waiting_) {
    const bool complete = is_complete(*request);
    if (!complete && !is_over(*request, now_ms)) continue;
    if (complete && request->encoded_ms >= 0) request->encoded_ms = now_ms;
    left_unfinished |= !complete;
    ready.push_back(std::move(request));
  }
  std::erase(waiting_, nullptr);
  if (left_unfinished) drop_unwanted();
  return ready;
}

std::vector<std::unique_ptr<RequestState>> EncodeStage::take_all() {
  std::vector<std::unique_ptr<RequestState>> all = std::move(waiting_);
  waiting_.clear();
  drop_unwanted();
  return all;
}

EncodeStatistics EncodeStage::statistics() const {
  EncodeStatistics now = counts_;
  now.requests = static_cast<int>(waiting_.size());
  now.cache_bytes = cache_.bytes();
  return now;
}

}  // namespace fastcache::engine
