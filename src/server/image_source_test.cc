// SPDX-License-Identifier: Apache-2.0
#include "server/image_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>

#include <filesystem>
#include <fstream>
#include <thread>

#include "image/testing/encoders.h"
#include "server/api_error.h"
#include "server/http.h"
#include "server/testing/picture_urls.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;
using image::Picture;
using test_support::data_url;
using ::testing::HasSubstr;

Picture picture(int width, int height) {
  return image::test_support::random_picture(width, height, static_cast<uint64_t>(width * 1000 + height));
}

std::string url_of(const Picture& made) { return data_url(image::test_support::encode_png(made)); }

struct Outcome {
  std::optional<LoadedPictures> loaded = {};
  std::optional<ApiError> refusal = {};
  bool client_gone = false;
};

class ImageSourceTest : public ::testing::Test {
 protected:
  static std::vector<PictureSource> sources(const std::vector<std::string>& urls) {
    std::vector<PictureSource> made;
    for (const std::string& url : urls)
      made.push_back({.url = url, .path = "pictures[" + std::to_string(made.size()) + "]"});
    return made;
  }
  Outcome load(const std::vector<std::string>& urls, bool stop = false) {
    return load(*std::make_unique<ImageSource>(io_, options_), urls, stop);
  }
  Outcome load(ImageSource& from, const std::vector<std::string>& urls, bool stop = false) {
    Outcome outcome;
    try {
      from.check(sources(urls));
    } catch (const ApiError& error) {
      outcome.refusal = error;
      return outcome;
    }
    const auto load = from.make_load();
    asio::co_spawn(io_, load->run(sources(urls)), [&](std::exception_ptr failure, LoadedPictures loaded) {
      try {
        if (failure) std::rethrow_exception(failure);
        outcome.loaded = std::move(loaded);
      } catch (const ApiError& error) {
        outcome.refusal = error;
      } catch (const ClientGone&) {
        outcome.client_gone = true;
      }
    });
    if (stop) load->stop();
    io_.restart();
    io_.run();
    return outcome;
  }
  void expect_refused(const std::vector<std::string>& urls, const char* sentence, const char* path,
                      Code code = Code::bad_request) {
    const Outcome outcome = load(urls);
    ASSERT_TRUE(outcome.refusal) << sentence;
    EXPECT_THAT(outcome.refusal->what(), HasSubstr(sentence));
    EXPECT_EQ(outcome.refusal->param, path);
    EXPECT_EQ(outcome.refusal->code(), code);
  }

  asio::io_context io_;
  ImageOptions options_;
};

TEST_F(ImageSourceTest, DataUrlsInOrder) {
  std::vector<Picture> right;
  std::vector<std::string> urls;
  for (int i = 1; i <= 32; ++i) {
    right.push_back(picture(i, 40 - i));
    urls.push_back(url_of(right.back()));
  }
  const Outcome outcome = load(urls);
  ASSERT_TRUE(outcome.loaded);
  EXPECT_EQ(outcome.loaded->pictures, right);
}

TEST_F(ImageSourceTest, TheMediaTypeIsAHint) {
  const Picture made = picture(3, 4);
  const std::string url = data_url(image::test_support::encode_webp(made), "image/jpeg");
  EXPECT_EQ(load({url}).loaded->pictures, std::vector<Picture>{made});
}

TEST_F(ImageSourceTest, OthersAreOffAndTheErrorNamesTheFlag) {
  const std::string fine = url_of(picture(1, 1));
  expect_refused({fine, "https://example.org/a.png"}, "--allow-remote-images HOST", "pictures[1]",
                 Code::unsupported);
  expect_refused({"file:///etc/passwd"}, "--allow-local-images DIR", "pictures[0]", Code::unsupported);
  expect_refused({"a.png"}, "--allow-local-images DIR", "pictures[0]", Code::unsupported);
  expect_refused({"ftp://example.org/a.png"}, "has a scheme that is not known", "pictures[0]");
}

TEST_F(ImageSourceTest, FilesOfTheAllowedFolder) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(::testing::TempDir()) / ("image_source_" + std::to_string(getpid()));
  fs::create_directories(folder);
  const Picture made = picture(5, 6);
  const auto file = image::test_support::encode_png(made);
  std::ofstream(folder / "a.png", std::ios::binary)
      .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  options_.local_folder = folder.string();
  EXPECT_EQ(load({"a.png", "file://" + (folder / "a.png").string()}).loaded->pictures,
            (std::vector<Picture>{made, made}));
  expect_refused({"a.png", "b.png"}, "pictures[1]: there is no file b.png", "pictures[1]");
  expect_refused({"/etc/passwd"}, "there is no file /etc/passwd in the folder", "pictures[0]");
  fs::remove_all(folder);
}

TEST_F(ImageSourceTest, BrokenOnesAreNamed) {
  const std::string fine = url_of(picture(1, 1));
  expect_refused({fine, "data:image/png;base64,AAAA"}, "pictures[1]: the picture is of no known format",
                 "pictures[1]", Code::unsupported);
  expect_refused({"data:image/png,abc"}, "not in base64", "pictures[0]");
  auto cut = image::test_support::encode_png(picture(9, 9));
  cut.resize(cut.size() / 2);
  expect_refused({fine, fine, data_url(cut)}, "broken or cut off", "pictures[2]");
}

TEST_F(ImageSourceTest, LimitsOfARequest) {
  const std::string url = url_of(picture(10, 10));
  options_.max_pictures = 3;
  EXPECT_TRUE(load({url, url, url}).loaded);
  expect_refused({url, url, url, url}, "there are 4, and a request may have at most 3", "pictures[3]");
  expect_refused(std::vector<std::string>(1000, "x"), "there are 1000", "pictures[3]");
  options_.all_pixels = 299;
  EXPECT_TRUE(load({url, url}).loaded);
  expect_refused({url, url, url}, "more than 299 pixels", "pictures[2]");
  options_.all_pixels = 1000;
  options_.all_file_bytes = image::test_support::encode_png(picture(10, 10)).size() * 2;
  EXPECT_TRUE(load({url, url}).loaded);
  expect_refused({url, url, url}, "the files of the request's pictures have more than", "pictures[2]");
}

TEST_F(ImageSourceTest, LimitOfAllRequestsTogether) {
  options_.held_pixels = 250;
  ImageSource from(io_, options_);
  const std::string url = url_of(picture(10, 10));
  Outcome first = load(from, {url, url});
  ASSERT_TRUE(first.loaded);
  const Outcome second = load(from, {url});
  ASSERT_TRUE(second.refusal);
  EXPECT_EQ(second.refusal->code(), Code::overloaded);
  first.loaded.reset();  // its answers have ended
  EXPECT_TRUE(load(from, {url, url}).loaded);
  EXPECT_TRUE(load(from, {url, url}).loaded) << "what a refused or an ended request held is free again";
}

TEST_F(ImageSourceTest, StopsWhenTheClientLeaves) {
  EXPECT_TRUE(load({url_of(picture(1, 1))}, true).client_gone);
}

}  // namespace
}  // namespace fastcache::server
