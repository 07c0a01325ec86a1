// SPDX-License-Identifier: Apache-2.0
#include "model/chat_tools.h"

#include <chat.h>                    // of llama-common
#include <json-schema-to-grammar.h>  // of llama-common
#include <spdlog/fmt/fmt.h>

#include <exception>
#include <map>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "model/chat_answer.h"
#include "model/chat_apply.h"
#include "model/chat_json.h"
#include "model/json_schema.h"
#include "model/tool_text.h"

namespace fastcache::model {
namespace {

common_chat_params apply(const ChatTemplate& chat_template, const ChatInput& input,
                         common_reasoning_format reasoning, bool pure_content) {
  common_chat_templates_inputs inputs;
  inputs.messages = input.messages;
  inputs.tools = input.tools;
  inputs.tool_choice = input.tool_choice;
  inputs.parallel_tool_calls = input.parallel_tool_calls;
  inputs.chat_template_kwargs = input.template_kwargs;
  inputs.enable_thinking = input.enable_thinking;
  inputs.reasoning_format = reasoning;
  inputs.force_pure_content = pure_content;
  return apply_chat_template(chat_template.llama(), inputs);
}

// Where a call is required, llama-common allows any content in front of it: text without end, from a small
// model. `at`: where it may stand, as "until-12?".
void cut_content(std::string& grammar, size_t at) {
  constexpr std::string_view kSpace = " space", kUntil = " until-";
  if (grammar.compare(at, kSpace.size(), kSpace) == 0) at += kSpace.size();
  if (grammar.compare(at, kUntil.size(), kUntil) != 0) return;
  const size_t end = grammar.find_first_not_of("0123456789", at + kUntil.size());
  if (end != std::string::npos && grammar[end] == '?') grammar.erase(at, end + 1 - at);
}

// Some of its rules repeat calls whether or not they may be several.
void cut_repetition(std::string& grammar) {
  constexpr std::string_view kMany = "\ntool-calls ::= (tool-call space)+\n";
  const size_t at = grammar.find(kMany);
  if (at != std::string::npos) grammar.erase(at + kMany.size() - 2, 1);
}

// llama-common's grammars begin with the end of the prompt, "<|im_start|>assistant\n": it feeds that to the
// sampler first. Ours begins with the answer. Returns how much of the prompt it was, nothing if the grammar
// cannot be understood.
std::optional<size_t> cut_prompt(std::string& grammar, const std::string& generation_prompt) {
  if (generation_prompt.empty()) return 0;
  constexpr std::string_view kRoot = "root ::= ";
  size_t at = grammar.starts_with(kRoot) ? 0 : grammar.find(std::string("\n") += kRoot);
  if (at == std::string::npos) return {};
  at = grammar.find_first_not_of("\n( ", at + (grammar[at] == '\n' ? 1 : 0) + kRoot.size());
  for (size_t n = generation_prompt.size(); n > 0; --n) {
    const std::string literal = gbnf_format_literal(generation_prompt.substr(0, n));
    if (at == std::string::npos || grammar.compare(at, literal.size(), literal) != 0) continue;
    grammar.replace(at, literal.size(), "\"\"");
    cut_content(grammar, at + 2);
    return n;
  }
  return {};
}

std::shared_ptr<AnswerFormat> make_format(const common_chat_params& params, const ChatInput& input) {
  auto format = std::make_shared<AnswerFormat>();
  format->format = params.format;
  format->generation_prompt = params.generation_prompt;
  format->rules.load(params.parser);
  for (const common_chat_tool& tool : input.tools) format->tool_names.insert(tool.name);
  return format;
}

void read_answers_by(std::shared_ptr<const AnswerFormat> format, PreparedChat& prepared) {
  prepared.make_parser = [format = std::move(format)] { return make_answer_parser(format); };
}

void use_rules_of(const common_chat_params& params, const ChatInput& input, PreparedChat& prepared) {
  const std::shared_ptr<AnswerFormat> format = make_format(params, input);
  if (!params.grammar.empty() && !params.grammar_lazy) {
    std::string grammar = params.grammar;
    if (!input.parallel_tool_calls) cut_repetition(grammar);
    if (const auto n_bytes = cut_prompt(grammar, params.generation_prompt)) {
      prepared.grammar = std::move(grammar);
      format->generation_prompt.resize(*n_bytes);
    }
  }
  prepared.stop = params.additional_stops;
  read_answers_by(format, prepared);
}

void check_schema(const ChatCall& call, const ChatInput& input) {
  if (call.json_schema.empty()) return;
  if (input.calls_tools()) {
    throw Error{Code::bad_request,
                "tools and json_schema (response_format) are both given; only one of them can be obeyed"};
  }
  grammar_of_json_schema(call.json_schema);
}

}  // namespace

ChatTools::ChatTools(const Vocab& vocab, const ChatTemplate& chat_template)
    : vocab_(&vocab), template_(&chat_template) {
  const std::map<std::string, bool> caps = common_chat_templates_get_caps(template_->llama());
  const auto can = [&](const char* name) { return caps.contains(name) && caps.at(name); };
  knows_tools_ = can("supports_tools") && can("supports_tool_calls");
  try {
    reasons_ = common_chat_templates_support_enable_thinking(template_->llama());
  } catch (const std::exception&) {
    reasons_ = false;  // what the template says cannot be made out: answers are plain text
  }
}

PreparedChat ChatTools::prepare(const ChatCall& call, bool pictures) const {
  ChatInput input = parse_chat(call, pictures);
  check_schema(call, input);
  PreparedChat prepared;
  // "{}" is any JSON to a grammar, any object to OpenAI.
  prepared.json_schema = call.json_schema == "{}" ? R"({"type":"object"})" : call.json_schema;

  std::shared_ptr<const AnswerFormat> tool_text;
  if (!knows_tools_ && uses_tools(input)) {
    if (input.calls_tools()) tool_text = tool_text_format(input, prepared.grammar);
    write_tools_as_text(input);
  }
  const bool must_call = input.calls_tools() && input.tool_choice == COMMON_CHAT_TOOL_CHOICE_REQUIRED;
  const bool is_bound = must_call || !call.json_schema.empty() || !prepared.grammar.empty();
  // What is bound to a grammar cannot reason first: let the template say so.
  if (is_bound) input.enable_thinking = false;
  const auto reasoning = is_bound ? COMMON_REASONING_FORMAT_NONE : COMMON_REASONING_FORMAT_AUTO;
  // Rules for the answer cost milliseconds: made only where they have something to find.
  const bool needs_rules = tool_text == nullptr && (input.calls_tools() || (reasons_ && !is_bound));

  Disarmed disarmed;
  const ChatInput safe = disarm(input, template_->controls(), disarmed);
  const common_chat_params rendered = apply(*template_, safe, reasoning, !needs_rules);
  prepared.tokens = disarmed.tokenize(*vocab_, rendered.prompt);

  if (tool_text != nullptr) {
    read_answers_by(tool_text, prepared);
  } else if (needs_rules) {
    // Not with the marks in tools' names and schemas.
    use_rules_of(disarmed.n_found() == 0 ? rendered : apply(*template_, input, reasoning, false), input,
                 prepared);
  } else {
    prepared.make_parser = make_content_parser;
  }
  return prepared;
}

}  // namespace fastcache::model
