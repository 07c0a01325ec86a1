// SPDX-License-Identifier: Apache-2.0
// The stage before the queue: requests wait here until all of their pictures are encoded. One worker thread
// works through the pictures, in order of arrival over all requests, each picture once however many want it.
//
// The worker prepares (scales, cuts into tiles) and hands the encoder's arithmetic over in slices of a few
// milliseconds, which the engine thread runs on the one compute pool between its steps: running answers are
// held up by that much and no more, no second set of threads spins beside the pool, and an idle engine
// encodes with all of its threads. The worker's own part runs at a low priority.
//
// Owner: the engine thread, for all but has_news().
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/compute_pool.h"
#include "engine/image_cache.h"
#include "engine/request_state.h"
#include "model/vision_encoder.h"

namespace fastcache::engine {

struct EncodeStatistics {
  int requests = 0;  // that wait here
  int64_t cache_queries = 0;
  int64_t cache_hits = 0;  // in the cache, or on their way for another request
  int64_t encoded = 0;     // pictures
  size_t cache_bytes = 0;
};

class EncodeStage {
 public:
  // on_news is called on the worker thread when has_news() has become true. The encoder
  // must outlive the stage.
  EncodeStage(model::VisionEncoder& encoder, size_t cache_bytes, std::function<void()> on_news);
  ~EncodeStage();  // gives up what is being encoded
  EncodeStage(const EncodeStage&) = delete;
  EncodeStage& operator=(const EncodeStage&) = delete;

  void add(std::unique_ptr<RequestState> request);

  bool has_news() const;  // a slice to run, or pictures that are done. Any thread
  // Runs slices until there is none or so much time has passed; at least one if there is one.
  void run_slices(ComputePool& compute, double budget_ms);

  // Requests that go on: all pictures encoded, or one could not be (RequestState::error), or cancelled, or
  // past their deadline. In order of arrival.
  std::vector<std::unique_ptr<RequestState>> take_ready(double now_ms);
  std::vector<std::unique_ptr<RequestState>> take_all();

  bool empty() const { return waiting_.empty(); }
  EncodeStatistics statistics() const;

 private:
  struct Bucket {
    size_t operator()(const Hash128& digest) const { return static_cast<size_t>(digest.low); }
  };
  struct Job {
    Hash128 digest;
    std::shared_ptr<const Picture> pixels;
  };
  struct Done {
    Hash128 digest;
    ImageCache::Embeddings embeddings;
    std::exception_ptr error;
  };

  void work();
  Done encode(const Job& job);
  bool run_slice_elsewhere(ggml_cgraph* slice);
  ggml_cgraph* wait_for_slice(double ms);
  void enqueue(std::vector<Job> jobs);
  void take_done();
  void hand_out(const Done& done, RequestState& request, PictureState& wanted);
  void drop_unwanted();
  bool is_wanted(const Hash128& digest) const;

  model::VisionEncoder& encoder_;
  const std::function<void()> on_news_;

  // --- engine thread
  ImageCache cache_;
  std::vector<std::unique_ptr<RequestState>> waiting_;  // in order of arrival
  std::unordered_set<Hash128, Bucket> on_their_way_;    // queued or being encoded
  EncodeStatistics counts_;

  // --- both, under the mutex
  mutable std::mutex mutex_;
  std::condition_variable for_worker_, for_engine_;
  std::deque<Job> queue_;
  std::deque<Done> done_;
  Hash128 at_work_;
  bool working_ = false;          // at_work_ is being encoded
  bool give_up_ = false;          // nobody wants it any longer
  std::exception_ptr failure_;    // of one of its slices
  ggml_cgraph* slice_ = nullptr;  // to be run by the engine thread
  bool stopping_ = false;

  std::thread worker_;
};

}  // namespace fastcache::engine
