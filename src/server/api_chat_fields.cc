// SPDX-License-Identifier: Apache-2.0
// messages, tools and what belongs to them. Whether the model's template takes them: Engine::prepare_chat.
#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "server/api_fields.h"

namespace fastcache::server {
namespace {

using F = const JsonField&;

constexpr size_t kMostTools = 128;
constexpr size_t kMostNameBytes = 64;

PictureSource read_picture(F part) {
  const JsonField image = part.need("image_url", R"(an object like {"url": "data:image/png;base64,..."})");
  image.must_be_object(R"(an object like {"url": "data:image/png;base64,..."})");
  const JsonField url = image.need("url", "a string");
  PictureSource source{.url = url.string(), .path = url.path()};
  if (source.url.empty()) url.refuse(fmt::format("{} is empty; it must be a picture's URL", url.path()));
  if (const auto detail = image.find("detail")) {
    source.detail = detail->string();
    if (source.detail != "auto" && source.detail != "low" && source.detail != "high")
      detail->must_be(R"("auto", "low" or "high")");
  }
  return source;
}

// What goes on to the template: of a picture that there is one. Its URL may have megabytes.
Json read_part(F part, CallDraft& draft) {
  part.must_be_object(R"(an object like {"type": "text", "text": "..."})");
  const JsonField type = part.need("type", R"("text" or "image_url")");
  const std::string& name = type.string();
  if (name == "text") {
    part.need("text", "a string").string();
    return part.json();
  }
  if (name == "image_url") {
    draft.call.pictures.push_back(read_picture(part));
    return {{"type", name}};
  }
  throw ApiError{Code::unsupported,
                 fmt::format("{} is {}; parts may be of the types \"text\" and \"image_url\"", type.path(),
                             Json(name).dump()),
                 type.path()};
}

void check_tool_call(F call) {
  call.must_be_object(R"(an object like {"id": "...", "type": "function", "function": {...}})");
  if (const auto id = call.find("id")) id->string();
  const JsonField function = call.need("function", R"(an object with "name" and "arguments")");
  function.need("name", "a string").string();
  if (const auto arguments = function.find("arguments")) {
    if (!arguments->is_object()) arguments->string("a string with JSON");
  }
}

Json read_content(F content, CallDraft& draft) {
  if (content.is_string()) return content.json();
  Json parts = Json::array();
  for (F part : content.items("a string or an array of parts")) parts.push_back(read_part(part, draft));
  return parts;
}

Json read_message(F message, CallDraft& draft) {
  message.must_be_object(R"(an object like {"role": "user", "content": "..."})");
  message.need("role", "a string such as \"user\"").string("a string such as \"user\"");
  const auto calls = message.find("tool_calls");
  if (calls) {
    for (F call : calls->items()) check_tool_call(call);
  }
  const auto content = message.find("content");
  if (!content && !calls && !message.find("refusal") && !message.find("reasoning_content"))
    message.need("content", "a string or an array of parts");
  Json made = Json::object();
  auto& members = made.get_ref<Json::object_t&>();  // by name each would be looked for among those before it
  for (const auto& [name, value] : message.json().items())
    members.push_back({name, content && name == "content" ? read_content(*content, draft) : value});
  return made;
}

void read_messages(F field, CallDraft& draft) {
  const std::vector<JsonField> messages = field.items("an array of messages");
  if (messages.empty()) field.must_be("an array of at least one message");
  Json made = Json::array();
  draft.call.pictures.clear();
  for (F message : messages) made.push_back(read_message(message, draft));
  draft.call.chat.messages = made.dump();
}

bool is_function_name(std::string_view name) {
  return !name.empty() && name.size() <= kMostNameBytes && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

// The words of tool_choice are no names: it could not tell them apart.
std::string read_tool_name(F tool) {
  tool.must_be_object(R"(an object like {"type": "function", "function": {"name": "..."}})");
  const JsonField type = tool.need("type", "\"function\"");
  if (type.string() != "function") {
    throw ApiError{Code::unsupported,
                   fmt::format("{} is {}; it must be \"function\"", type.path(), Json(type.string()).dump()),
                   type.path()};
  }
  const JsonField function = tool.need("function", R"(an object with "name" and "parameters")");
  const JsonField name = function.need("name", "a string");
  const std::string& text = name.string();
  const bool is_word = text == "auto" || text == "none" || text == "required";
  if (is_word || !is_function_name(text)) {
    name.refuse(
        fmt::format("{} is {}; it must have 1 to {} letters, digits, _ or -, and not be auto, none or "
                    "required",
                    name.path(), Json(text).dump(), kMostNameBytes));
  }
  if (const auto description = function.find("description")) description->string();
  if (const auto parameters = function.find("parameters")) parameters->must_be_object("a JSON schema");
  return text;
}

void read_tools(F field, CallDraft& draft) {
  const std::vector<JsonField> tools = field.items("an array of tools");
  if (tools.size() > kMostTools)
    field.refuse(
        fmt::format("{} has {} tools; it may have at most {}", field.path(), tools.size(), kMostTools));
  for (F tool : tools) draft.tool_names.push_back(read_tool_name(tool));
  draft.call.chat.tools = tools.empty() ? "" : field.json().dump();
}

void read_tool_choice(F field, CallDraft& draft) {
  constexpr const char* kRight =
      R"("auto", "none", "required" or {"type": "function", "function": {"name": "..."}})";
  std::string& choice = draft.call.chat.tool_choice;
  if (field.is_string()) {
    choice = field.string();
    if (choice != "auto" && choice != "none" && choice != "required")
      field.refuse(fmt::format("{} is {}; it must be {}", field.path(), Json(choice).dump(), kRight));
    return;
  }
  field.must_be_object(kRight);
  const JsonField name = field.need("function", R"(an object with "name")").need("name", "a string");
  choice = name.string();
  draft.tool_choice_path = name.path();
}

constexpr FieldRow kChat[] = {
    {"messages", FieldOf::chat, read_messages},
    {"tools", FieldOf::chat, read_tools},
    {"tool_choice", FieldOf::chat, read_tool_choice},
    {"parallel_tool_calls", FieldOf::chat,
     [](F f, CallDraft& d) { d.call.chat.parallel_tool_calls = f.boolean(); }},
    {"chat_template_kwargs", FieldOf::chat,
     [](F f, CallDraft& d) {
       f.must_be_object();
       d.call.chat.template_kwargs = f.json().dump();
     }},
};

}  // namespace

std::span<const FieldRow> chat_fields() { return kChat; }

}  // namespace fastcache::server
