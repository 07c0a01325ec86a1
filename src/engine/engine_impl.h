// SPDX-License-Identifier: Apache-2.0
// What stands behind the public engine: the model, one thread that owns the step loop, and an inbox.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/compute_pool.h"
#include "engine/encode_stage.h"
#include "engine/step_loop.h"
#include "fastcache/engine.h"
#include "model/chat_tools.h"
#include "model/loaded_model.h"
#include "model/vision_encoder.h"

namespace fastcache {

struct Engine::Impl {
  explicit Impl(const EngineOptions& options);
  ~Impl();

  std::shared_ptr<Answer> submit(const Request& request, std::function<void()> on_news);

  // From the worker of the encode stage.
  void wake();

  const int max_waiting;
  const double itl_target_ms;
  const kv::KvType kv_type;
  ComputePool compute;  // engine thread, once it runs
  const model::LoadedModel model;
  const std::unique_ptr<model::VisionEncoder> vision;  // null: the model sees no pictures
  const std::unique_ptr<model::LoraAdapter> lora;      // of requests with pictures, or null
  const ModelFacts facts;
  const model::ChatTools chat_tools{model.vocab, model.chat_template};
  kv::PagePool pool;      // engine thread
  engine::StepLoop loop;  // engine thread

  std::mutex mutex;
  std::condition_variable news;
  std::vector<std::unique_ptr<engine::RequestState>> inbox;  // under the mutex, like all below
  EngineStats published;
  std::vector<RequestFigures> published_requests;
  bool stopping = false;
  std::unique_ptr<engine::EncodeStage> encoding;  // engine thread; null without vision
  std::thread thread;

 private:
  void run();
  bool take_arrivals();  // waits where there is nothing to do; false: the end
  void encode_pictures();
  EngineStats stats() const;
  void publish();

  double requests_published_ms_ = 0;  // engine thread
};

}  // namespace fastcache
