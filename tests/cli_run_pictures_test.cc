// SPDX-License-Identifier: Apache-2.0
// `fastcache run --image`, and `fastcache serve --mmproj`, as a user starts them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "child.h"
#include "image/testing/encoders.h"
#include "model/testing/tiny_adapter.h"
#include "model/testing/tiny_mmproj.h"
#include "model/testing/tiny_model.h"
#include "serve_child.h"
#include "server/testing/picture_urls.h"

namespace fastcache {
namespace {

using test_support::ChildResult;
using test_support::run_fastcache;
using ::testing::HasSubstr;

class CliPictures : public ::testing::Test {
 protected:
  CliPictures() {
    model::test_support::write_tiny_model(file("text.gguf"), {.context_length = 2048});
    model::test_support::write_tiny_mmproj(file("mmproj.gguf"), {});
    std::mt19937_64 random(1);
    png_ = image::test_support::encode_png(image::test_support::random_picture(40, 32, random));
    write("a.png", {png_.begin(), png_.end()});
    write("half.png", {png_.begin(), png_.begin() + static_cast<ptrdiff_t>(png_.size() / 2)});
  }
  void write(const char* name, const std::string& bytes) const {
    std::ofstream(file(name), std::ios::binary) << bytes;
  }
  std::string file(const char* name) const { return folder_.file(name); }
  ChildResult run(std::vector<std::string> more) const {
    more.insert(more.begin(), {"run", "-m", file("text.gguf"), "--mmproj", file("mmproj.gguf"), "-n", "8"});
    return run_fastcache(more);
  }
  void expect_refused(const std::vector<std::string>& more, Code code, const char* sentence) const {
    const ChildResult result = run(more);
    EXPECT_EQ(result.exit_code, exit_code(code));
    EXPECT_THAT(result.err, HasSubstr(sentence));
  }

  model::test_support::TemporaryFolder folder_;
  image::test_support::File png_;
};

TEST_F(CliPictures, OneAnswerAboutSeveral) {
  const ChildResult one = run({"--image", file("a.png"), "what is this?"});
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_TRUE(one.out.ends_with('\n'));
  EXPECT_THAT(one.err, HasSubstr("(16 of pictures)"));
  const ChildResult two = run({"--image", file("a.png"), "--image", file("a.png"), "-p", "what is this?"});
  EXPECT_EQ(two.exit_code, 0) << two.err;
  EXPECT_THAT(two.err, HasSubstr("(32 of pictures)"));
}

TEST_F(CliPictures, WhatIsWrongIsSaid) {
  expect_refused({"--image", file("none.png"), "what?"}, Code::not_found, "there is no file");
  expect_refused({"--image", file("half.png"), "what?"}, Code::bad_request, "broken or cut off");
  expect_refused({"--image", file("text.gguf"), "what?"}, Code::unsupported, "no known format");
  const ChildResult blind =
      run_fastcache({"run", "-m", file("text.gguf"), "--image", file("a.png"), "what?"});
  EXPECT_NE(blind.exit_code, 0);
  EXPECT_THAT(blind.err, HasSubstr("--mmproj"));
}

TEST_F(CliPictures, AnAdapterChangesWhatIsSaidOfThem) {
  const std::string lora = file("adapter.gguf");
  model::test_support::write_tiny_adapter(lora, {.context_length = 2048}, {});
  const ChildResult without = run({"--image", file("a.png"), "what is this?"});
  const ChildResult with = run({"--image", file("a.png"), "--lora", lora, "what is this?"});
  EXPECT_EQ(with.exit_code, 0) << with.err;
  EXPECT_NE(with.out, without.out);
  expect_refused({"--image", file("a.png"), "--lora", file("text.gguf"), "what?"}, Code::invalid_model,
                 "general.type");
  expect_refused({"--image", file("a.png"), "--lora", file("none.gguf"), "what?"}, Code::not_found,
                 "none.gguf");
  const std::vector<std::vector<std::string>> blind{
      {"run", "-m", file("text.gguf"), "--image", file("a.png"), "--lora", lora, "what?"},
      {"serve", "-m", file("text.gguf"), "--lora", lora}};
  for (const auto& arguments : blind) {
    const ChildResult result = run_fastcache(arguments);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.err, HasSubstr("--mmproj"));
  }
}

// Named in a configuration file; text is answered as by a server without it.
TEST_F(CliPictures, AnAdapterIsServed) {
  model::test_support::write_tiny_adapter(file("adapter.gguf"), {.context_length = 2048}, {});
  const auto configure = [&](const char* name, const std::string& more) {
    write(name, "[serve]\nmodel = \"" + file("text.gguf") + "\"\nmmproj = \"" + file("mmproj.gguf") + "\"\n" +
                    more);
  };
  configure("plain.toml", "");
  configure("lora.toml", "lora = \"" + file("adapter.gguf") + "\"\n");
  test_support::ServerChild plain({"--config", file("plain.toml")}), adapted({"--config", file("lora.toml")});
  const auto ask = [&](test_support::ServerChild& server, const std::string& content) {
    const auto reply = test_support::ask(
        server.port(), "POST", "/v1/chat/completions",
        R"({"max_tokens": 12, "temperature": 0, "messages": [{"role": "user", "content": )" + content + "}]}",
        "Content-Type: application/json\r\n");
    EXPECT_EQ(reply.status, 200) << reply.body;
    return nlohmann::json::parse(reply.body)["choices"].dump();
  };
  const std::string seen = R"([{"type": "image_url", "image_url": {"url": ")" +
                           server::test_support::data_url(png_) +
                           R"("}}, {"type": "text", "text": "what?"}])";
  plain.wait_until_ready();
  adapted.wait_until_ready();
  EXPECT_EQ(ask(plain, R"("what?")"), ask(adapted, R"("what?")"));
  EXPECT_NE(ask(plain, seen), ask(adapted, seen));
}

TEST_F(CliPictures, Served) {
  test_support::ServerChild server({"-m", file("text.gguf"), "--mmproj", file("mmproj.gguf"),
                                    "--allow-local-images", ::testing::TempDir(), "--max-images", "2"});
  server.wait_until_ready();
  const auto ask = [&](const std::string& url) {
    return test_support::ask(
        server.port(), "POST", "/v1/chat/completions",
        R"({"max_tokens": 4, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ")" +
            url + R"("}}, {"type": "text", "text": "what?"}]}]})",
        "Content-Type: application/json\r\n");
  };
  EXPECT_EQ(ask(server::test_support::data_url(png_)).status, 200);
  EXPECT_EQ(ask("/etc/passwd").status, 400);
  EXPECT_THAT(ask("https://example.org/a.png").body, HasSubstr("--allow-remote-images"));
}

}  // namespace
}  // namespace fastcache
