// SPDX-License-Identifier: Apache-2.0
#include "server/image_source.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <optional>
#include <utility>

#include "image/data_url.h"
#include "image/local_file.h"
#include "server/api_error.h"
#include "server/http.h"
#include "server/image_url.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;
using File = std::vector<uint8_t>;

// A file that is not there is the request's fault, not the address's.
[[noreturn]] void refuse_at(const PictureSource& source, const Error& error) {
  const Code code = error.code() == Code::not_found ? Code::bad_request : error.code();
  throw ApiError{code, fmt::format("{}: {}", source.path, error.what()), source.path};
}

bool has_scheme(std::string_view url) {
  const size_t colon = url.find("://");
  return colon != std::string_view::npos && url.find('/') > colon;
}

void check_local(const std::string& url, const ImageOptions& options) {
  if (!url.starts_with("file://") && has_scheme(url)) {
    throw Error{Code::bad_request,
                fmt::format("{} has a scheme that is not known; a picture's URL begins with data:, https://, "
                            "http:// or file://",
                            shown(url))};
  }
  if (!options.local_folder.empty()) return;
  throw Error{Code::unsupported,
              fmt::format("{} is a file of the server's machine, and none is read; send it as a data URL, or "
                          "start the server with --allow-local-images DIR",
                          shown(url))};
}

RemoteImageOptions remote_options(const ImageOptions& options) {
  return {.hosts = options.remote_hosts,
          .max_bytes = options.each.file_bytes,
          .timeout_ms = options.fetch_timeout_ms};
}

}  // namespace

HeldPixels& HeldPixels::operator=(HeldPixels&& other) noexcept {
  std::swap(all_, other.all_);
  std::swap(n_, other.n_);
  return *this;
}

HeldPixels::~HeldPixels() {
  if (all_ != nullptr) *all_ -= n_;
}

bool HeldPixels::add(int64_t n, int64_t most) {
  if ((*all_ += n) > most) {
    *all_ -= n;
    return false;
  }
  n_ += n;
  return true;
}

class ImageSource::Loading final : public Load, public std::enable_shared_from_this<Loading> {
 public:
  explicit Loading(ImageSource& from) : from_(from), held_(from.held_) {}

  asio::awaitable<LoadedPictures> run(std::vector<PictureSource> sources) override;
  void stop() override {
    stopped_ = true;
    if (fetch_) fetch_->stop();
  }

 private:
  asio::awaitable<std::optional<File>> fetch(const PictureSource& source);
  File read(const PictureSource& source) const;
  image::Picture decode(const PictureSource& source, std::optional<File> file);
  void count(const File& file);
  void check_stop() const {
    if (stopped_) throw ClientGone{};
  }

  ImageSource& from_;
  std::shared_ptr<RemoteImages::Fetch> fetch_;  // under way
  HeldPixels held_;
  size_t file_bytes_ = 0;
  int64_t pixels_ = 0;
  std::atomic<bool> stopped_{false};  // the decoder looks too
};

asio::awaitable<LoadedPictures> ImageSource::Loading::run(std::vector<PictureSource> sources) {
  const auto self = shared_from_this();
  LoadedPictures loaded;
  for (const PictureSource& source : sources) {
    check_stop();
    std::optional<File> file = co_await fetch(source);
    const auto work = [&]() -> asio::awaitable<image::Picture> { co_return decode(source, std::move(file)); };
    loaded.pictures.push_back(co_await asio::co_spawn(from_.decoder_, work, asio::use_awaitable));
  }
  check_stop();
  loaded.held = std::move(held_);
  co_return loaded;
}

// Nothing for a picture that is not on another machine.
asio::awaitable<std::optional<File>> ImageSource::Loading::fetch(const PictureSource& source) {
  if (!is_http_url(source.url)) co_return std::nullopt;
  fetch_ = from_.remote_.make_fetch();
  try {
    File file = co_await fetch_->run(source.url);
    fetch_.reset();
    co_return std::move(file);
  } catch (const Error& error) {
    refuse_at(source, error);
  }
}

File ImageSource::Loading::read(const PictureSource& source) const {
  const size_t most = from_.options_.each.file_bytes;
  if (image::is_data_url(source.url)) return image::read_data_url(source.url, most);
  return image::read_file_below(from_.options_.local_folder, source.url, most);
}

// Before anything of the picture is allocated.
void ImageSource::Loading::count(const File& file) {
  const ImageOptions& options = from_.options_;
  file_bytes_ += file.size();
  if (file_bytes_ > options.all_file_bytes) {
    throw Error{Code::bad_request, fmt::format("the files of the request's pictures have more than {} bytes",
                                               options.all_file_bytes)};
  }
  const image::PictureSize size = image::inspect(file);
  const int64_t n_pixels = int64_t{size.width} * size.height;
  if (size.width <= 0 || size.height <= 0 || n_pixels > options.each.pixels) return;  // decode() refuses it
  pixels_ += n_pixels;
  if (pixels_ > options.all_pixels) {
    throw Error{Code::bad_request,
                fmt::format("the request's pictures have more than {} pixels", options.all_pixels)};
  }
  if (!held_.add(n_pixels, options.held_pixels))
    throw Error{Code::overloaded, "the server holds as many pictures as it can; try again"};
}

image::Picture ImageSource::Loading::decode(const PictureSource& source, std::optional<File> file) {
  check_stop();
  try {
    if (!file) file = read(source);
    count(*file);
    return image::decode(*file, from_.options_.each);
  } catch (const Error& error) {
    refuse_at(source, error);
  }
}

ImageSource::ImageSource(asio::io_context& io, ImageOptions options, RemoteImageSeams seams)
    : options_(std::move(options)), remote_(io, remote_options(options_), std::move(seams)) {}

ImageSource::~ImageSource() { decoder_.join(); }

void ImageSource::check(std::span<const PictureSource> sources) const {
  if (const auto most = static_cast<size_t>(options_.max_pictures); sources.size() > most) {
    const std::string& first_over = sources[most].path;
    throw ApiError{Code::bad_request,
                   fmt::format("{} is one picture too many: there are {}, and a request may have at most {}",
                               first_over, sources.size(), most),
                   first_over};
  }
  for (const PictureSource& source : sources) {
    try {
      if (image::is_data_url(source.url)) continue;
      if (is_http_url(source.url))
        remote_.check(source.url);
      else
        check_local(source.url, options_);
    } catch (const Error& error) {
      refuse_at(source, error);
    }
  }
}

std::shared_ptr<ImageSource::Load> ImageSource::make_load() { return std::make_shared<Loading>(*this); }

}  // namespace fastcache::server
