// SPDX-License-Identifier: Apache-2.0
#include "engine/engine_impl.h"
#include "engine/gbnf_check.h"

namespace fastcache {

PreparedChat Engine::prepare_chat(const ChatCall& call) const {
  PreparedChat prepared = impl_->chat_tools.prepare(call, impl_->vision != nullptr);
  // Here, so that the error names the tools: the request that follows knows only a grammar.
  if (!prepared.grammar.empty()) engine::check_gbnf(prepared.grammar, "tools");
  return prepared;
}

}  // namespace fastcache
