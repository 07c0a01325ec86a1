// SPDX-License-Identifier: Apache-2.0
// Bodies of /v1/chat/completions and /v1/completions -> what the engine is asked for. Pure: no model is
// needed. Fields that nobody knows are ignored, as clients send many; known ones that would change the answer
// and that this server cannot obey are refused.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fastcache/chat.h"
#include "fastcache/request.h"
#include "server/picture_source.h"

namespace fastcache::server {

enum class Endpoint { chat, completions };

// What counts where a request says nothing.
struct ApiDefaults {
  SamplingParams sampling = {.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .min_p = 0.0f};
  int max_tokens = 0;  // 0: in a chat what the context holds, else 16, as in OpenAI's API
  Compression compression = {};
};

struct Prompt {  // one of the two
  std::string text = {};
  std::vector<int32_t> tokens = {};
};

struct CompletionCall {
  Endpoint endpoint = Endpoint::chat;
  std::string model = {};  // empty: not said
  Request request = {};    // without its prompt; max_tokens 0: what the context holds
  bool has_seed = false;   // else chance chooses

  ChatCall chat = {};  // of Endpoint::chat; a picture's part is {"type": "image_url"} alone
  std::vector<PictureSource> pictures = {};  // of chat, in the order of those parts
  std::vector<Prompt> prompts = {};          // of Endpoint::completions; n choices for each
  bool echo = false;                         // the choice begins with its prompt

  bool stream = false;
  bool include_usage = false;
};

inline constexpr size_t kMaxPrompts = 128;  // of one request, each with n choices

// Throws ApiError: bad_request, unsupported; `param` is the field's path.
CompletionCall parse_completion_call(Endpoint endpoint, std::string_view body, const ApiDefaults& defaults);

// Names of all fields that are looked at: for tests and documents.
std::vector<std::string> known_fields(Endpoint endpoint);

}  // namespace fastcache::server
