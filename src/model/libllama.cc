// SPDX-License-Identifier: Apache-2.0
#include "model/libllama.h"

#include <log.h>  // of llama-common
#include <mtmd.h>

#include <mutex>
#include <string_view>
#include <utility>

#include "base/log.h"

namespace fastcache::model {
namespace {

thread_local std::string first_error;

void keep_error(ggml_log_level level, const char* text, void* /*unused*/) {
  if (level == GGML_LOG_LEVEL_ERROR && first_error.empty()) first_error = text;
}

void to_our_log(ggml_log_level level, const char* text, void* unused) {
  keep_error(level, text, unused);
  std::string_view line = text;
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  if (line.size() > 1) log().debug("libllama: {}", line);  // single dots are its progress bar
}

}  // namespace

void start_llama_library() {
  static std::once_flag once;
  std::call_once(once, [] {
    llama_log_set(to_our_log, nullptr);
    mtmd_log_set(to_our_log, nullptr);
    // llama-common logs through a thread of its own, started by its first line. Below every level: never.
    common_log_set_verbosity_thold(-1000);
    llama_backend_init();
  });
}

std::string take_llama_error() {
  std::string error = std::exchange(first_error, {});
  while (!error.empty() && error.back() == '\n') error.pop_back();
  return error;
}

void silence_llama_library() {
  llama_log_set(keep_error, nullptr);
  mtmd_log_set(keep_error, nullptr);
}

}  // namespace fastcache::model
