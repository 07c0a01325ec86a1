// SPDX-License-Identifier: Apache-2.0
#include "server/json_field.h"

#include <spdlog/fmt/fmt.h>

#include <array>
#include <cmath>

#include "model/utf8.h"

namespace fastcache::server {
namespace {

[[noreturn]] void refuse_body(const std::string& sentence) {
  throw ApiError{Code::bad_request, sentence, ""};
}

// Before the parser sees it: what would take it, and those who read the tree, too long.
void check_shape(std::string_view body) {
  std::array<size_t, kMaxJsonDepth + 1> members{};  // of the open object at each depth
  size_t depth = 0, n_values = 1, n_members = 0;
  bool in_string = false;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') {
      if (++depth > kMaxJsonDepth)
        refuse_body(fmt::format("the body nests deeper than {} brackets", kMaxJsonDepth));
      members[depth] = 0;
      ++n_values;
    }
    if ((c == '}' || c == ']') && depth > 0) --depth;
    if (c == ',' && ++n_values > kMaxJsonValues)
      refuse_body(fmt::format("the body has more than {} JSON values", kMaxJsonValues));
    if (c != ':') continue;
    if (++members[depth] > kMaxObjectMembers)
      refuse_body(fmt::format("an object in the body has more than {} members", kMaxObjectMembers));
    if (++n_members > kMaxJsonMembers)
      refuse_body(fmt::format("the objects in the body have more than {} members", kMaxJsonMembers));
  }
}

// The library's sentence without its number, and without all of a long token that it quotes.
std::string parser_sentence(const std::string& what) {
  constexpr size_t kMost = 200;
  const size_t begin = what.find("] ");
  return model::displayable(what.substr(begin == std::string::npos ? 0 : begin + 2, kMost));
}

}  // namespace

Json parse_json_object(std::string_view body) {
  if (body.empty()) refuse_body("the body is empty; it must be a JSON object");
  if (const auto at = model::find_invalid_utf8(body))
    refuse_body(fmt::format("the body is not UTF-8: byte {} is wrong", *at));
  check_shape(body);
  Json json;
  try {
    json = Json::parse(body);
  } catch (const Json::exception& error) {
    refuse_body(fmt::format("the body is not JSON: {}", parser_sentence(error.what())));
  }
  if (!json.is_object())
    refuse_body(fmt::format("the body is {}; it must be a JSON object", JsonField(json, "").what_it_is()));
  return json;
}

std::string JsonField::what_it_is() const {
  if (value_->is_null()) return "null";
  if (value_->is_boolean()) return value_->get<bool>() ? "true" : "false";
  if (value_->is_string()) return "a string";
  if (value_->is_array()) return value_->empty() ? "an empty array" : "an array";
  if (value_->is_object()) return "an object";
  return "the number " + value_->dump();
}

void JsonField::refuse(const std::string& sentence) const {
  throw ApiError{Code::bad_request, sentence, path_};
}

void JsonField::must_be(const std::string& right) const {
  refuse(fmt::format("{} is {}; it must be {}", path_, what_it_is(), right));
}

bool JsonField::boolean() const {
  if (!value_->is_boolean()) must_be("true or false");
  return value_->get<bool>();
}

int64_t JsonField::integer(int64_t least, int64_t most) const {
  const auto refused = [&] { must_be(fmt::format("a whole number from {} to {}", least, most)); };
  int64_t number = 0;
  if (value_->is_number_unsigned()) {
    if (value_->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) refused();
    number = value_->get<int64_t>();
  } else if (value_->is_number_integer()) {
    number = value_->get<int64_t>();
  } else if (value_->is_number_float()) {
    const double real = value_->get<double>();
    if (std::abs(real) > 9e15 || real != std::floor(real)) refused();  // up to there a double is exact
    number = static_cast<int64_t>(real);
  } else {
    refused();
  }
  if (number < least || number > most) refused();
  return number;
}

double JsonField::number(double least, double most) const {
  const auto refused = [&] {
    must_be(most < std::numeric_limits<double>::max() ? fmt::format("a number from {} to {}", least, most)
                                                      : fmt::format("a number of at least {}", least));
  };
  if (!value_->is_number()) refused();
  const double number = value_->get<double>();
  if (!(number >= least && number <= most)) refused();
  return number;
}

const std::string& JsonField::string(const std::string& right) const {
  if (!value_->is_string()) must_be(right);
  return value_->get_ref<const std::string&>();
}

std::vector<JsonField> JsonField::items(const std::string& right) const {
  if (!value_->is_array()) must_be(right);
  std::vector<JsonField> items;
  items.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i)
    items.emplace_back((*value_)[i], fmt::format("{}[{}]", path_, i));
  return items;
}

void JsonField::must_be_object(const std::string& right) const {
  if (!value_->is_object()) must_be(right);
}

std::string JsonField::path_of(std::string_view name) const {
  return path_.empty() ? std::string{name} : fmt::format("{}.{}", path_, name);
}

std::optional<JsonField> JsonField::find(const char* name) const {
  must_be_object();
  const auto at = value_->find(name);
  if (at == value_->end() || at->is_null()) return std::nullopt;
  return JsonField(*at, path_of(name));
}

JsonField JsonField::need(const char* name, const std::string& right) const {
  if (auto found = find(name)) return *std::move(found);
  throw ApiError{Code::bad_request, fmt::format("{} is missing; it must be {}", path_of(name), right),
                 path_of(name)};
}

std::vector<int32_t> read_token_ids(const JsonField& field) {
  if (!field.is_array()) field.must_be("an array of token ids");
  std::vector<int32_t> tokens;
  tokens.reserve(field.json().size());
  for (size_t i = 0; i < field.json().size(); ++i) {
    const Json& value = field.json()[i];
    const bool is_token =
        value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{std::numeric_limits<int32_t>::max()};
    if (!is_token) JsonField(value, fmt::format("{}[{}]", field.path(), i)).must_be("a token id");
    tokens.push_back(value.get<int32_t>());
  }
  return tokens;
}

}  // namespace fastcache::server
