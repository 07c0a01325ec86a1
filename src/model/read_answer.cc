// SPDX-License-Identifier: Apache-2.0
#include <chat-peg-parser.h>  // of llama-common

#include <algorithm>
#include <exception>
#include <string_view>

#include "model/chat_answer.h"

namespace fastcache::model {
namespace {

using Builder = common_chat_peg_builder;  // its names of the tags

std::unique_ptr<common_chat_peg_mapper> make_mapper(common_chat_format format, common_chat_msg& message) {
  if (format == COMMON_CHAT_FORMAT_PEG_GEMMA4)
    return std::make_unique<common_chat_peg_gemma4_mapper>(message);
  if (format == COMMON_CHAT_FORMAT_PEG_MINIMAX_M3)
    return std::make_unique<common_chat_peg_minimax_m3_mapper>(message);
  return std::make_unique<common_chat_peg_mapper>(message);
}

// Where the pieces of the message end in the input.
class Coverage {
 public:
  explicit Coverage(size_t input_bytes) : input_bytes_(input_bytes) {}

  void see(const common_peg_ast_node& node) {
    if (node.tag == Builder::CONTENT || node.tag == Builder::REASONING) {
      covered_ = std::max(covered_, node.end);
    } else if (node.tag == Builder::TOOL_OPEN) {
      open_ = true;
      open_end_ = node.end;
    } else if (node.tag == Builder::TOOL_NAME) {
      ++n_names_;
      last_name_ends_ = node.end;
      open_ = false;
      covered_ = std::max({covered_, node.end, open_end_});
    } else if (node.tag.starts_with("tool-") && n_names_ > 0 && !open_) {
      covered_ = std::max(covered_, node.end);
    }
  }

  size_t covered() const { return covered_; }
  bool unnamed() const { return open_; }
  // More letters may follow, or other names that begin so.
  bool name_may_grow() const { return n_names_ > 0 && last_name_ends_ >= input_bytes_; }

 private:
  size_t input_bytes_;
  size_t covered_ = 0, open_end_ = 0, last_name_ends_ = 0;
  int n_names_ = 0;
  bool open_ = false;
};

}  // namespace

ReadAnswer read_answer(const AnswerFormat& format, const std::string& text) {
  ReadAnswer read;
  common_peg_parse_context context(format.generation_prompt + text, COMMON_PEG_PARSE_FLAG_LENIENT);
  try {
    const common_peg_parse_result result = format.rules.parse(context);
    read.failed = result.fail();
    if (read.failed) return read;
    read.complete = result.success();
    make_mapper(format.format, read.message)->from_ast(context.ast, result);
    Coverage coverage(context.input.size());
    context.ast.visit(result, [&](const common_peg_ast_node& node) { coverage.see(node); });
    const size_t prompt_bytes = format.generation_prompt.size();
    read.covered = coverage.covered() - std::min(coverage.covered(), prompt_bytes);
    read.call_begun = coverage.unnamed();
    auto& calls = read.message.tool_calls;
    if (!calls.empty() && (coverage.name_may_grow() || !format.tool_names.contains(calls.back().name))) {
      calls.pop_back();
      read.call_begun = true;
    }
  } catch (const std::exception&) {
    read = {};
    read.failed = true;
  }
  return read;
}

}  // namespace fastcache::model
