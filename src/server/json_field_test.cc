// SPDX-License-Identifier: Apache-2.0
#include "server/json_field.h"

#include <gtest/gtest.h>

namespace fastcache::server {
namespace {

std::string repeat(const std::string& text, size_t n) {
  std::string all;
  for (size_t i = 0; i < n; ++i) all += text;
  return all;
}

std::string sentence_of(const std::string& body) {
  try {
    parse_json_object(body);
  } catch (const ApiError& error) {
    EXPECT_EQ(error.code(), Code::bad_request);
    return error.what();
  }
  return "";
}

TEST(ParseJsonObject, TakesObjectsAndTheLastOfEqualNames) {
  EXPECT_EQ(parse_json_object(R"({"a": 1, "b": "\u00e9\u0000", "a": 2})").at("a"), 2);
  EXPECT_EQ(parse_json_object(R"({"z":1,"a":2})").dump(), R"({"z":1,"a":2})");
}

TEST(ParseJsonObject, RefusesWithASentence) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "empty"},
      {"[]", "it must be a JSON object"},
      {"7", "it must be a JSON object"},
      {"{\"a\": 1", "not JSON"},
      {"{\"a\": 1} x", "not JSON"},
      {"{\"a\": 1e999}", "not JSON"},
      {"{\"a\": \"\\ud800\"}", "not JSON"},
      {"{\"a\": \"\xff\"}", "not UTF-8: byte 7"},
      {repeat("{\"a\":", 100'000), "nests deeper than 100"},
      {"{\"a\":" + repeat("[", 50'000'00), "nests deeper than 100"},
      {"{\"a\":[" + repeat("1,", kMaxJsonValues) + "1]}", "more than 1000000 JSON values"},
      {"{" + repeat("\"a\":1,", kMaxObjectMembers) + "\"b\":1}", "more than 2000 members"},
      {"{\"a\":[" + repeat("{\"b\":1},", kMaxJsonMembers) + "1]}", "more than 200000 members"},
  };
  for (const auto& [body, part] : cases)
    EXPECT_NE(sentence_of(body).find(part), std::string::npos) << part << " / " << sentence_of(body);
}

TEST(ParseJsonObject, BracketsInStringsDoNotNest) {
  EXPECT_NO_THROW(parse_json_object("{\"a\": \"" + repeat("[{\\\"", 1000) + "\"}"));
  EXPECT_NO_THROW(parse_json_object("{\"a\":" + repeat("[", 99) + repeat("]", 99) + "}"));
}

TEST(ParseJsonObject, SentencesStayShort) {
  const std::string sentence = sentence_of("{\"" + repeat("x", 100'000));
  EXPECT_LT(sentence.size(), 300u);
}

class FieldTest : public testing::Test {
 protected:
  template <class Read>
  std::string refusal(const Json& value, const Read& read) {
    const JsonField field(value, "a.b[3]");
    try {
      read(field);
    } catch (const ApiError& error) {
      EXPECT_EQ(error.param, "a.b[3]");
      return error.what();
    }
    return "";
  }
};

TEST_F(FieldTest, IntegersAreExactAndInRange) {
  const auto read = [](const JsonField& f) { f.integer(-5, 1000); };
  for (const char* good : {"-5", "0", "1000", "7.0", "1e3"})
    EXPECT_EQ(refusal(Json::parse(good), read), "") << good;
  for (const char* bad :
       {"-6", "1001", "0.5", "1e300", "18446744073709551615", "true", "null", "\"1\"", "[1]"})
    EXPECT_NE(refusal(Json::parse(bad), read), "") << bad;
  EXPECT_EQ(refusal(Json(1001), read),
            "a.b[3] is the number 1001; it must be a whole number from -5 to 1000");
  const Json least = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(JsonField(least, "x").integer(least, 0), least);
}

TEST_F(FieldTest, OtherTypesSayWhatTheyAre) {
  EXPECT_EQ(refusal(Json("x"), [](const JsonField& f) { f.number(0, 2); }),
            "a.b[3] is a string; it must be a number from 0 to 2");
  EXPECT_EQ(refusal(Json::array(), [](const JsonField& f) { f.boolean(); }),
            "a.b[3] is an empty array; it must be true or false");
  EXPECT_EQ(refusal(Json(true), [](const JsonField& f) { f.string(); }),
            "a.b[3] is true; it must be a string");
  EXPECT_EQ(refusal(Json::object(), [](const JsonField& f) { f.items(); }),
            "a.b[3] is an object; it must be an array");
}

TEST_F(FieldTest, NullIsAbsent) {
  const Json json = Json::parse(R"({"a": null, "b": {"c": 1}})");
  const JsonField root(json, "");
  EXPECT_FALSE(root.find("a"));
  EXPECT_FALSE(root.find("x"));
  EXPECT_EQ(root.find("b")->find("c")->path(), "b.c");
  try {
    root.find("b")->need("d", "a number");
    ADD_FAILURE();
  } catch (const ApiError& error) {
    EXPECT_EQ(error.param, "b.d");
    EXPECT_STREQ(error.what(), "b.d is missing; it must be a number");
  }
}

}  // namespace
}  // namespace fastcache::server
