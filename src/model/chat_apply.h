// SPDX-License-Identifier: Apache-2.0
// The one call into libllama-common's templates. Inside model/ only. Thread-safe.
#pragma once

#include <chat.h>  // of llama-common

namespace fastcache::model {

// Throws Error (bad_request) if the template refuses the messages.
common_chat_params apply_chat_template(const common_chat_templates* templates,
                                       const common_chat_templates_inputs& inputs);

}  // namespace fastcache::model
