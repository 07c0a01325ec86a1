// SPDX-License-Identifier: Apache-2.0
#include "server/web_routes.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>

#include "server/testing/recorded_reply.h"
#include "server/web_files.h"

namespace fastcache::server {
namespace {

using test_support::begin_answer;
using test_support::RecordedReply;

const std::filesystem::path kFolder = "src/server/web";  // tests run in the repository's root

struct Got {
  int status;
  std::string type, body;
  std::map<std::string, std::string> headers;
};

Got get(const std::string& path, const std::string& if_none_match = {}) {
  static const std::vector<Route> routes = web_routes();
  const auto route =
      std::find_if(routes.begin(), routes.end(), [&](const Route& r) { return r.path == path; });
  if (route == routes.end()) return {404, "", "", {}};
  EXPECT_EQ(route->method, "GET");
  EXPECT_FALSE(route->needs_key) << path;
  boost::asio::io_context context;
  RecordedReply reply{context};
  HttpRequest request;
  request.path = path;
  if (!if_none_match.empty()) request.headers["if-none-match"] = if_none_match;
  begin_answer(context, reply, route->handler(request, reply));
  context.run();
  EXPECT_TRUE(reply.is_answered && !reply.failure);
  return {reply.status, reply.content_type, reply.body, {reply.headers.begin(), reply.headers.end()}};
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

std::set<std::string> found(const std::string& text, const std::string& pattern) {
  const std::regex regex{pattern};
  std::set<std::string> all;
  for (std::sregex_iterator at{text.begin(), text.end(), regex}, end; at != end; ++at) all.insert((*at)[1]);
  return all;
}

TEST(WebRoutes, EveryFileIsEmbeddedAsItIs) {
  std::set<std::string> on_disk, embedded;
  for (const auto& entry : std::filesystem::directory_iterator{kFolder})
    on_disk.insert(entry.path().filename().string());
  for (const WebFile& file : web_files()) {
    embedded.insert(std::string{file.name});
    EXPECT_EQ(file.bytes, read_file(kFolder / file.name)) << file.name;
  }
  EXPECT_EQ(embedded, on_disk);
}

TEST(WebRoutes, Types) {
  EXPECT_EQ(get("/").type, "text/html; charset=utf-8");
  EXPECT_EQ(get("/web/base.css").type, "text/css; charset=utf-8");
  EXPECT_EQ(get("/web/main.js").type, "text/javascript; charset=utf-8");
  EXPECT_EQ(get("/web/icon.svg").type, "image/svg+xml");
  EXPECT_EQ(get("/").body, read_file(kFolder / "index.html"));
  EXPECT_EQ(get("/web/index.html").status, 404) << "its relative paths would be wrong there";
}

TEST(WebRoutes, HeadersThatKeepStrangersOut) {
  for (const Route& route : web_routes()) {
    const Got got = get(route.path);
    EXPECT_EQ(got.status, 200) << route.path;
    EXPECT_EQ(got.headers.at("X-Content-Type-Options"), "nosniff") << route.path;
    const std::string policy = got.headers.at("Content-Security-Policy");
    EXPECT_NE(policy.find("default-src 'none'"), std::string::npos);
    EXPECT_NE(policy.find("script-src 'self';"), std::string::npos);
    EXPECT_EQ(policy.find("unsafe"), std::string::npos);
  }
}

TEST(WebRoutes, AFileThatIsKnownIsNotSentAgain) {
  const Got first = get("/web/main.js");
  const std::string tag = first.headers.at("ETag");
  EXPECT_TRUE(std::regex_match(tag, std::regex{R"("[0-9a-f]{32}")"})) << tag;
  for (const std::string& field :
       {tag, "W/" + tag, "\"other\", " + tag, "\"a\",\t W/" + tag + " ", std::string{"*"}}) {
    const Got again = get("/web/main.js", field);
    EXPECT_EQ(again.status, 304) << field;
    EXPECT_EQ(again.body, "") << field;
    EXPECT_EQ(again.headers.at("ETag"), tag) << field;
  }
  for (const std::string& field :
       {std::string{"\"other\""}, tag.substr(1), tag.substr(0, 12), std::string{","}})
    EXPECT_EQ(get("/web/main.js", field).status, 200) << field;
  EXPECT_NE(get("/").headers.at("ETag"), tag);
}

// What the page names is there, and nothing comes from elsewhere.
TEST(WebRoutes, EverythingThatIsReferredToIsEmbedded) {
  const std::string page = get("/").body;
  const auto of_page = found(page, R"re((?:href|src)="([^"]*)")re");
  EXPECT_GE(of_page.size(), 4u);
  for (const std::string& reference : of_page) EXPECT_EQ(get("/" + reference).status, 200) << reference;
  for (const WebFile& file : web_files()) {
    const std::string text{file.bytes};
    for (const std::string& import : found(text, R"re(from "\./([^"]*)")re"))
      EXPECT_EQ(get("/web/" + import).status, 200) << file.name << " imports " << import;
    for (const std::string& address : found(text, R"re((https?://[^"' >)]*))re"))
      EXPECT_EQ(address, "http://www.w3.org/2000/svg") << file.name;
    EXPECT_TRUE(found(text, R"re((url\(|@import))re").empty()) << file.name;
  }
}

// The policy would stop the first, and nothing at all should need the second.
TEST(WebRoutes, NoCodeInThePageAndNoTextAsHtml) {
  const std::string page = get("/").body;
  EXPECT_TRUE(found(page, R"re(( on[a-z]+=| style=|<style|javascript:))re").empty());
  for (const WebFile& file : web_files())
    EXPECT_TRUE(found(std::string{file.bytes},
                      R"re((innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function))re")
                    .empty())
        << file.name;
}

TEST(WebRoutes, EveryIdThatTheCodeWantsIsInThePage) {
  const auto ids = found(get("/").body, R"re(id="([^"]*)")re");
  for (const WebFile& file : web_files())
    for (const std::string& wanted : found(std::string{file.bytes}, R"re(\$\("([^"]*)"\))re"))
      EXPECT_TRUE(ids.contains(wanted)) << file.name << " wants #" << wanted;
}

}  // namespace
}  // namespace fastcache::server
