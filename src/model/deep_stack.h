// SPDX-License-Identifier: Apache-2.0
// libllama splits text for many vocabularies (Mistral Nemo, Llama 4, GPT-4o, DeepSeek) with std::regex, which
// recurses once per character: 26,000 letters without a break end a thread of 8 MiB with SIGSEGV. So long
// texts are split on a thread whose stack is as deep as the text could need. Memory is taken only as far as
// the recursion really goes.
#pragma once

#include <cstddef>
#include <functional>

namespace fastcache::model {

// Measured at most 827 bytes of stack per character (superbpe, digits), usually 321.
inline constexpr size_t kStackPerByte = 1024;

// Runs work on a thread of its own with at least `bytes` of stack and waits for it. Passes on what work
// throws. Throws Error (overloaded) if the system has no room for the stack.
void run_on_deep_stack(size_t bytes, const std::function<void()>& work);

}  // namespace fastcache::model
