// SPDX-License-Identifier: Apache-2.0
// From what a request says of its pictures to their pixels: data URLs, files below an allowed folder, hosts
// that are allowed. Owner: the server's thread; files are read and decoded on a thread of its own, one at a
// time, so that neither HTTP nor others' prompts wait for them.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "image/decode.h"
#include "server/picture_source.h"
#include "server/remote_image.h"

namespace fastcache::server {

struct ImageOptions {
  std::vector<std::string> remote_hosts = {};  // is_allowed(); none: no picture is fetched
  std::string local_folder = {};               // empty: no file is read
  int64_t fetch_timeout_ms = 10'000;
  image::DecodeLimits each = {};             // of a picture
  int max_pictures = 64;                     // of a request
  size_t all_file_bytes = size_t{64} << 20;  // of a request's pictures together
  int64_t all_pixels = int64_t{1} << 26;     // the same, decoded
  int64_t held_pixels = int64_t{1} << 27;    // of all requests that are under way
};

// Pixels that count as held while it lives. Any thread.
class HeldPixels {
 public:
  HeldPixels() = default;
  explicit HeldPixels(std::shared_ptr<std::atomic<int64_t>> all) : all_(std::move(all)) {}
  HeldPixels(HeldPixels&& other) noexcept : all_(std::move(other.all_)), n_(std::exchange(other.n_, 0)) {}
  HeldPixels& operator=(HeldPixels&& other) noexcept;
  ~HeldPixels();
  bool add(int64_t n, int64_t most);  // false: all together would be more than most
 private:
  std::shared_ptr<std::atomic<int64_t>> all_;
  int64_t n_ = 0;
};

struct LoadedPictures {
  std::vector<image::Picture> pictures;  // [sources]
  HeldPixels held;                       // keep it as long as the pictures
};

class ImageSource {
 public:
  ImageSource(boost::asio::io_context& io, ImageOptions options, RemoteImageSeams seams = {});
  ~ImageSource();  // waits for the picture that is being decoded
  ImageSource(const ImageSource&) = delete;
  ImageSource& operator=(const ImageSource&) = delete;

  // Whether these may be loaded at all: their number, kinds, hosts. Throws ApiError: bad_request,
  // unsupported (what is off says which flag turns it on). Any thread.
  void check(std::span<const PictureSource> sources) const;

  // One request's pictures on their way.
  class Load {
   public:
    virtual ~Load() = default;
    // In order. Throws ApiError that names the picture: bad_request, unsupported, overloaded, io; ClientGone
    // after stop(). Once. The source must live until then.
    virtual boost::asio::awaitable<LoadedPictures> run(std::vector<PictureSource> sources) = 0;
    virtual void stop() = 0;
  };
  std::shared_ptr<Load> make_load();

 private:
  class Loading;
  const ImageOptions options_;
  RemoteImages remote_;
  const std::shared_ptr<std::atomic<int64_t>> held_ = std::make_shared<std::atomic<int64_t>>(0);
  boost::asio::thread_pool decoder_{1};
};

}  // namespace fastcache::server
