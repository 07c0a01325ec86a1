// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "engine/engine_impl.h"
#include "engine/request_check.h"
#include "model/model_info.h"
#include "model/models.h"

namespace fastcache {
namespace {

constexpr double kFiguresEvery_ms = 100;
constexpr size_t kMostFigures = 256;  // requests

double steady_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// What a compression borrows in a full pool, to write a head's rows before it lets go of the old ones.
int reserve_pages(const model::HParams& hparams, size_t pool_bytes) {
  constexpr size_t kMost = 256, kShare = 64;
  return static_cast<int>(std::min(kMost, pool_bytes / kv::page_payload_bytes(hparams.head_dim) / kShare));
}

std::unique_ptr<model::VisionEncoder> open_vision(const EngineOptions& options,
                                                  const model::LoadedModel& model) {
  if (options.mmproj.empty()) return nullptr;
  return std::make_unique<model::VisionEncoder>(options.mmproj, model.vocab, model.hparams.n_embd);
}

std::unique_ptr<model::LoraAdapter> open_lora(const EngineOptions& options, const model::LoadedModel& model) {
  if (options.lora.empty()) return nullptr;
  if (options.mmproj.empty()) {
    throw Error{Code::bad_request,
                fmt::format("the adapter {} is for requests with pictures, but there is no vision encoder: "
                            "name its file too (--mmproj)",
                            options.lora)};
  }
  return std::make_unique<model::LoraAdapter>(options.lora, model.hparams);
}

// Of a step's time, while answers run, that pictures may take; the rest of the target is the step's own.
constexpr double kEncodeShare = 0.25;
constexpr double kEncodeAlone_ms = 50;  // while none run: then arrivals are looked for
constexpr auto kLookForEnds =
    std::chrono::milliseconds(20);  // cancelled or late, while a picture is prepared

ModelFacts model_facts(const model::LoadedModel& model, kv::KvType kv_type, bool has_vision) {
  const model::HParams& hparams = model.hparams;
  return {.path = model.file.path(),
          .name = model.name(),
          .context_tokens = hparams.context_length,
          .has_vision = has_vision,
          .n_vocab = hparams.n_vocab,
          .n_layers = hparams.n_layers,
          .kv_bytes_per_token = model::kv_bytes_per_token(hparams, kv_type)};
}

}  // namespace

const char* finish_name(Finish finish) {
  switch (finish) {
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::cancelled:
      return "cancelled";
    case Finish::deadline:
      return "deadline";
    case Finish::failed:
      return "failed";
  }
  return "?";
}

Engine::Impl::Impl(const EngineOptions& options)
    : max_waiting(options.max_waiting),
      itl_target_ms(options.itl_target_ms),
      kv_type(kv::parse_kv_type(options.kv_type)),
      compute(options.threads),
      model(model::find_model(options.model).string(), compute),
      vision(open_vision(options, model)),
      lora(open_lora(options, model)),
      facts(model_facts(model, kv_type, vision != nullptr)),
      pool({.head_dim = model.hparams.head_dim,
            .bytes = options.pool_bytes,
            .types = {kv_type},
            .reserve_pages = reserve_pages(model.hparams, options.pool_bytes),
            .touch = true}),
      loop(model, compute, pool, kv_type,
           {.step_tokens = options.step_tokens,
            .max_running = options.max_running,
            .prefix_cache = options.prefix_cache,
            .policy = options.policy,
            .itl_target_ms = options.itl_target_ms,
            .scheduler = {},
            .lora = lora.get()},
           steady_ms) {
  if (vision != nullptr)
    encoding = std::make_unique<engine::EncodeStage>(*vision, options.image_cache_bytes, [this] { wake(); });
  published = stats();
  thread = std::thread([this] { run(); });
}

Engine::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
  }
  news.notify_all();
  thread.join();
}

void Engine::Impl::wake() {
  { const std::lock_guard lock(mutex); }  // whoever is about to wait has looked before, or is waiting by now
  news.notify_all();
}

bool Engine::Impl::take_arrivals() {
  std::vector<std::unique_ptr<engine::RequestState>> arrived;
  {
    std::unique_lock lock(mutex);
    const auto has_news = [&] {
      return stopping || !inbox.empty() || (encoding != nullptr && encoding->has_news());
    };
    if (!loop.has_work() && (encoding == nullptr || encoding->empty()))
      news.wait(lock, has_news);
    else if (!loop.has_work())
      news.wait_for(lock, kLookForEnds, has_news);
    if (stopping) return false;
    arrived.swap(inbox);
  }
  for (auto& request : arrived) {
    if (request->has_pictures())
      encoding->add(std::move(request));
    else
      loop.add(std::move(request));
  }
  return true;
}

void Engine::Impl::encode_pictures() {
  encoding->run_slices(compute, loop.has_work() ? kEncodeShare * itl_target_ms : kEncodeAlone_ms);
  for (auto& request : encoding->take_ready(steady_ms())) loop.add(std::move(request));
}

void Engine::Impl::run() {
  while (take_arrivals()) {
    if (encoding != nullptr) encode_pictures();
    if (loop.has_work()) loop.step();
    publish();
  }
  if (encoding != nullptr) {
    for (auto& request : encoding->take_all()) loop.add(std::move(request));
  }
  loop.cancel_all();
}

EngineStats Engine::Impl::stats() const {
  EngineStats stats = loop.stats();
  if (encoding == nullptr) return stats;
  const engine::EncodeStatistics pictures = encoding->statistics();
  stats.encoding = pictures.requests;
  stats.mm_cache_queries = pictures.cache_queries;
  stats.mm_cache_hits = pictures.cache_hits;
  stats.mm_cache_bytes = pictures.cache_bytes;
  stats.pictures_encoded = pictures.encoded;
  return stats;
}

void Engine::Impl::publish() {
  const EngineStats stats = this->stats();
  const double now = steady_ms();
  // One that ended is counted in the totals from now on: were it listed any longer, it would count twice.
  const bool one_ended = stats.prompt_tokens != published.prompt_tokens;  // written by this thread alone
  const bool requests_too = one_ended || !loop.has_work() || now - requests_published_ms_ >= kFiguresEvery_ms;
  std::vector<RequestFigures> requests;
  if (requests_too) {
    requests = loop.figures(kMostFigures);
    requests_published_ms_ = now;
  }
  const std::lock_guard lock(mutex);
  published = stats;
  if (requests_too) published_requests.swap(requests);
}

std::shared_ptr<Answer> Engine::Impl::submit(const Request& request, std::function<void()> on_news) {
  auto state = engine::prepare_request(request, model, kv_type, steady_ms(), vision.get());
  auto channel = std::make_shared<engine::AnswerChannel>(std::move(on_news));
  state->channel = channel;
  {
    const std::lock_guard lock(mutex);
    if (published.waiting + published.encoding + static_cast<int>(inbox.size()) >= max_waiting) {
      throw Error{Code::overloaded, fmt::format("{} requests wait already; try again later", max_waiting)};
    }
    inbox.push_back(std::move(state));
  }
  news.notify_all();
  return engine::make_answer(std::move(channel));
}

Engine::Engine(const EngineOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Engine::~Engine() = default;

std::shared_ptr<Answer> Engine::submit(Request request, std::function<void()> on_news) {
  return impl_->submit(request, std::move(on_news));
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->published;
}

std::vector<RequestFigures> Engine::requests(size_t most) const {
  const std::lock_guard lock(impl_->mutex);
  const auto& all = impl_->published_requests;
  return {all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min(most, all.size()))};
}

const ModelFacts& Engine::model() const { return impl_->facts; }

std::vector<int32_t> Engine::tokenize(std::string_view text, bool add_special, bool parse_special) const {
  return impl_->model.vocab.tokenize(text, {.add_special = add_special, .parse_special = parse_special});
}

std::string Engine::detokenize(std::span<const int32_t> tokens) const {
  return impl_->model.vocab.detokenize(tokens, true);
}

std::string Engine::token_bytes(int32_t token) const { return impl_->model.vocab.piece(token); }

}  // namespace fastcache
