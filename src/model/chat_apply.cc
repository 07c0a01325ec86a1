// SPDX-License-Identifier: Apache-2.0
#include "model/chat_apply.h"

#include <spdlog/fmt/fmt.h>

#include <exception>
#include <mutex>

#include "base/error.h"

namespace fastcache::model {

common_chat_params apply_chat_template(const common_chat_templates* templates,
                                       const common_chat_templates_inputs& inputs) {
  // llama-common writes the date with std::localtime, whose result all threads share.
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  try {
    return common_chat_templates_apply(templates, inputs);
  } catch (const std::exception& error) {
    throw Error{Code::bad_request,
                fmt::format("the model's chat template refuses these messages: {}", error.what())};
  }
}

}  // namespace fastcache::model
