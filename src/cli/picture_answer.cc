// SPDX-License-Identifier: Apache-2.0
#include "cli/picture_answer.h"

#include <unistd.h>

#include <cstdio>
#include <memory>

#include "base/log.h"
#include "base/waker.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "fastcache/engine.h"
#include "image/decode.h"
#include "image/local_file.h"
#include "model/utf8.h"

namespace fastcache::cli {
namespace {

using Shared = std::shared_ptr<const Picture>;

Shared load(const std::string& path) {
  const image::DecodeLimits limits;
  try {
    return std::make_shared<const Picture>(image::decode(image::read_file(path, limits.file_bytes), limits));
  } catch (const Error& error) {
    throw Error{error.code(), fmt::format("--image {}: {}", path, error.what())};
  }
}

Request request_of(const RunOptions& options) {
  Request request{.max_tokens = options.max_tokens, .sampling = options.sampling};
  if (!options.system.empty()) request.messages.push_back({.role = "system", .content = options.system});
  Message question{.role = "user"};
  for (const std::string& path : options.images) question.parts.push_back({.picture = load(path)});
  question.parts.push_back({.text = options.prompt});
  request.messages.push_back(std::move(question));
  return request;
}

EngineOptions engine_of(const RunOptions& options) {
  return {.model = options.model.model,
          .pool_bytes = options.model.pool_bytes,
          .kv_type = options.model.kv_type,
          .threads = options.model.threads,
          .step_tokens = options.model.chunk_tokens,
          .prefix_cache = false,
          .mmproj = options.mmproj,
          .lora = options.lora};
}

Finish print_answer(Answer& answer, Waker& waker) {
  const Interrupt interrupt;
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  Finish finish = Finish::cancelled;
  while (true) {
    if (interrupt.requested()) answer.cancel();
    Delta delta;
    const Answer::Poll news = answer.poll(delta);
    if (news == Answer::Poll::ended) break;
    if (news == Answer::Poll::nothing) {
      waker.wait();
      continue;
    }
    print_now(terminal ? model::displayable_lines(delta.text) : delta.text);
    if (delta.finished) finish = delta.finish;
  }
  print_now("\n");
  return finish;
}

void print_stats(const Summary& summary, Finish finish) {
  std::fprintf(
      stderr,
      "[%d prompt tokens (%d of pictures), pictures encoded after %.0f ms, first token after %.0f ms | "
      "%d tokens, %.1f tok/s | %s]\n",
      summary.prompt_tokens, summary.image_tokens, summary.encode_ms, summary.ttft_ms,
      summary.generated_tokens, summary.tpot_ms > 0 ? 1e3 / summary.tpot_ms : 0.0, finish_name(finish));
}

}  // namespace

int answer_about_pictures(const RunOptions& options) {
  if (options.mmproj.empty()) {
    throw Error{Code::bad_request,
                "--image needs --mmproj FILE, the GGUF file with the vision encoder of the model"};
  }
  Request request = request_of(options);
  Engine engine(engine_of(options));
  const auto waker = std::make_shared<Waker>();
  const auto answer = engine.submit(std::move(request), [waker] { waker->wake(); });
  const Finish finish = print_answer(*answer, *waker);
  if (!options.quiet) print_stats(answer->summary(), finish);
  return finish == Finish::cancelled ? exit_code(Code::cancelled) : 0;
}

}  // namespace fastcache::cli
