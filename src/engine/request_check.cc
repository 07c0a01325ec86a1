// SPDX-License-Identifier: Apache-2.0
#include "engine/request_check.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "engine/request_pictures.h"
#include "engine/second_pass.h"
#include "press/press_string.h"
#include "press/registry.h"

namespace fastcache::engine {
namespace {

constexpr int kMostAnswers = 64;
constexpr double kMostQueryBytes = 256.0 * (1 << 20);  // of one request

std::vector<int32_t> prompt_tokens(const Request& request, const model::LoadedModel& model) {
  const int n_given = (request.prompt.empty() ? 0 : 1) + (request.messages.empty() ? 0 : 1) +
                      (request.tokens.empty() ? 0 : 1);
  if (n_given != 1) {
    throw Error{Code::bad_request,
                n_given == 0 ? "the request has no prompt; prompt, messages or tokens must hold at least one"
                             : "the request has several of prompt, messages and tokens; it must have one"};
  }
  if (!request.prompt.empty())
    return model.vocab.tokenize(request.prompt, {.add_special = true, .parse_special = true});
  if (!request.messages.empty()) {
    std::vector<model::ChatMessage> messages;
    for (const Message& message : request.messages) {
      messages.push_back({.role = message.role, .content = message.content, .parts = {}});
      for (const MessagePart& part : message.parts)
        messages.back().parts.push_back({.text = part.text, .is_picture = part.picture != nullptr});
    }
    return model.chat_template.apply_tokens(messages, {});
  }
  for (int32_t token : request.tokens) {
    if (token != kPictureToken && !model.vocab.is_valid(token)) {
      throw Error{Code::bad_request, fmt::format("token {} is not in the vocabulary of {} tokens", token,
                                                 model.vocab.n_tokens())};
    }
  }
  return request.tokens;
}

void check_numbers(const Request& request) {
  if (request.max_tokens < 1)
    throw Error{Code::bad_request,
                fmt::format("max_tokens is {}; it must be at least 1", request.max_tokens)};
  if (request.n < 1 || request.n > kMostAnswers)
    throw Error{Code::bad_request, fmt::format("n is {}; it must be 1 to {}", request.n, kMostAnswers)};
  if (std::abs(request.priority) > 1000)
    throw Error{Code::bad_request, fmt::format("priority is {}; it must be -1000 to 1000", request.priority)};
  if (!(request.deadline_ms > 0))
    throw Error{Code::bad_request, fmt::format("deadline_ms is {}; it must be above 0", request.deadline_ms)};
}

// What any request of ours gives a press.
press::PressNeeds delivered_needs(const model::LoadedModel& model, kv::KvType kv_type) {
  return {.keys = true,
          .values = true,
          .last_queries = model::kMostLastQueries,
          .query_statistics = true,
          .received_attention = true,
          .second_pass = true,
          .output_weights = !model.family->output_weights().empty(),
          .seed = true,
          .new_rows = true,
          .n_layers = model.hparams.n_layers,
          .page_bits = kv::element_bits(kv_type)};
}

bool is_even(const press::PressParams& params) {
  const press::PressRow& row = press::find_press(params.name);
  if (row.wrap == nullptr) return row.plain_scores;
  return row.amount == press::Amount::rows && is_even(params.inner[0]);
}

// Queries lie beside the pool, and each answer that is compressed while it grows has its own.
void check_query_memory(const Request& request, const model::HParams& hparams, const RequestState& state) {
  const int n_tokens = std::min<int64_t>(state.press_needs.last_queries,
                                         static_cast<int64_t>(state.prompt.size()) + request.max_tokens);
  const double bytes = sizeof(float) * 1.0 * n_tokens * hparams.n_layers * hparams.n_heads *
                       hparams.head_dim * (state.press_interval > 0 ? request.n : 1);
  if (bytes <= kMostQueryBytes) return;
  throw Error{
      Code::bad_request,
      fmt::format("press '{}' would keep {:.0f} MiB of queries for this request; at most {:.0f} MiB are "
                  "allowed: choose a smaller window, or fewer answers",
                  state.press.name, bytes / (1 << 20), kMostQueryBytes / (1 << 20))};
}

// Its positions follow those of the prompt.
void check_second_pass(const press::Press& press, const model::LoadedModel& model, RequestState& state) {
  if (!state.press_needs.second_pass) return;
  if (state.has_pictures()) {
    throw Error{
        Code::unsupported,
        fmt::format("press '{}' reads the prompt a second time, which it cannot yet do with pictures in it",
                    state.press.name)};
  }
  for (const auto& text : probe_texts(press, model.vocab, state.prompt, 0))
    state.longest_probe = std::max(state.longest_probe, static_cast<int>(text.size()));
  const int n_tokens = static_cast<int>(state.prompt.size()) + state.longest_probe;
  if (n_tokens > model.hparams.context_length)
    throw Error{
        Code::context_too_long,
        fmt::format("press '{}' reads the prompt a second time: its {} tokens and {} of a pass behind "
                    "them are more than the {} of the model's context",
                    state.press.name, state.prompt.size(), state.longest_probe,
                    model.hparams.context_length)};
}

}  // namespace

press::PressParams press_params(const Compression& compression) {
  return press::complete(press::parse_press(compression.press, {.ratio = compression.ratio,
                                                                .budget = compression.budget,
                                                                .seed = compression.seed,
                                                                .numbers = compression.parameters}));
}

std::unique_ptr<RequestState> prepare_request(const Request& request, const model::LoadedModel& model,
                                              kv::KvType kv_type, double now_ms,
                                              const model::VisionEncoder* vision) {
  check_numbers(request);
  auto state = std::make_unique<RequestState>();
  state->n_embd = model.hparams.n_embd;
  state->prompt = prompt_tokens(request, model);
  if (state->prompt.empty())
    throw Error{Code::bad_request, "the prompt is empty; it must have at least one token"};
  const auto pictures = pictures_of(request, state->prompt);
  if (!pictures.empty()) lay_out_pictures(pictures, vision, *state);
  const int context = model.hparams.context_length;
  if (static_cast<int>(state->prompt.size()) >= context) {
    throw Error{Code::context_too_long,
                fmt::format("the prompt has {} tokens; the model's context holds {}, one of them for the "
                            "answer",
                            state->prompt.size(), context)};
  }
  if (!pictures.empty()) take_pictures(pictures, *vision, *state);
  state->max_tokens = request.max_tokens;
  state->n = request.n;
  state->stop = std::make_shared<const StopStrings>(request.stop);
  state->sampling = request.sampling;
  state->sampler.emplace(request.sampling, model.vocab);
  state->sampler->see_prompt(text_of(state->prompt));
  state->press = press_params(request.compression);
  const auto press = press::make_press(state->press);
  state->press_needs = press->needs();
  state->press_interval = press->decode_interval();
  state->press_bounds_rows = press->bounds_rows();
  press::check_needs(state->press.name, state->press_needs, delivered_needs(model, kv_type));
  state->press_is_even = is_even(state->press);
  check_query_memory(request, model.hparams, *state);
  check_second_pass(*press, model, *state);
  state->compresses = state->press.name != "none";
  state->plain_rows = {.tenant_salt = request.tenant, .press = ""};
  if (state->compresses)
    state->compressed_rows = {.tenant_salt = request.tenant, .press = press::press_identity(state->press)};
  state->priority = request.priority;
  state->arrival_ms = now_ms;
  state->deadline_ms = now_ms + request.deadline_ms;
  return state;
}

}  // namespace fastcache::engine
