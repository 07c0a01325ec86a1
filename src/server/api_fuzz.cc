// SPDX-License-Identifier: Apache-2.0
// Any bytes as the body of a completion request: they are taken or refused with a sentence that is UTF-8, and
// what is taken is in range. A good corpus is a folder with a few real requests.
#include <cstdint>
#include <cstdlib>

#include "image/data_url.h"
#include "model/utf8.h"
#include "server/api_error.h"
#include "server/api_request.h"
#include "server/image_url.h"
#include "server/kv_compression.h"

namespace {

using namespace fastcache;
using namespace fastcache::server;

void must_hold(bool claim) {
  if (!claim) std::abort();
}

void check_taken(const CompletionCall& call) {
  const Request& request = call.request;
  must_hold(request.n >= 1 && request.n <= 64 && request.max_tokens >= 0);
  must_hold(request.sampling.logprobs >= -1 && request.sampling.logprobs <= 20);
  must_hold(request.stop.size() <= 16 && request.deadline_ms > 0);
  if (call.endpoint == Endpoint::chat)
    must_hold(!call.chat.messages.empty() && !model::find_invalid_utf8(call.chat.messages));
  else
    must_hold(!call.prompts.empty() && call.prompts.size() <= kMaxPrompts);
  for (const PictureSource& picture : call.pictures) must_hold(!picture.url.empty() && !picture.path.empty());
  for (const Prompt& prompt : call.prompts) must_hold(prompt.text.empty() != prompt.tokens.empty());
}

void check_refused(const Error& error) {
  must_hold(error.code() == Code::bad_request || error.code() == Code::unsupported ||
            error.code() == Code::not_found);
  must_hold(!std::string_view(error.what()).empty() && !model::find_invalid_utf8(error.what()));
}

// What a picture's URL may be, from anywhere: a request, or another server's redirect.
void check_urls(std::string_view text) {
  try {
    const ImageUrl url = parse_image_url(text);
    must_hold(!url.host.empty() && url.port > 0 && url.target.starts_with('/'));
    must_hold(url.authority().find('@') == std::string::npos);
    const ImageUrl next = follow(url, text);
    must_hold(next.host == url.host);
  } catch (const Error& error) {
    check_refused(error);
  }
  try {
    must_hold(image::read_data_url(text, 1000).size() <= 1000);
  } catch (const Error& error) {
    check_refused(error);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (Endpoint endpoint : {Endpoint::chat, Endpoint::completions}) {
    try {
      check_taken(parse_completion_call(endpoint, body, {}));
    } catch (const ApiError& error) {
      check_refused(error);
    }
  }
  check_urls(body);
  try {
    parse_compression(body);
  } catch (const Error& error) {
    check_refused(error);
  }
  return 0;
}
