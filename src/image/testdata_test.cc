// SPDX-License-Identifier: Apache-2.0
// Pictures of many kinds beside what Pillow sees in them: tools/pictures makes both.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "image/decode.h"

namespace fastcache::image {
namespace {

constexpr const char* kFolder = "src/image/testdata";

std::vector<uint8_t> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Picture read_ppm(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int most = 0;
  Picture picture;
  file >> magic >> picture.width >> picture.height >> most;
  file.get();
  picture.rgb.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  EXPECT_EQ(magic, "P6");
  EXPECT_EQ(picture.rgb.size(), static_cast<size_t>(3 * picture.width * picture.height)) << path;
  return picture;
}

// Where a format has no loss the pixels are the same but for the rounding of transparency; Pillow's own jpeg
// and webp libraries may be of other versions than ours.
int tolerance(const std::string& name) {
  if (name.ends_with(".jpg") || name.starts_with("lossy")) return 4;
  return 1;
}

TEST(Testdata, IsSeenAsPillowSeesIt) {
  int n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    const std::string name = entry.path().filename();
    if (name.ends_with(".ppm")) continue;
    ++n_files;
    const Picture picture = decode(read_file(entry.path()));
    const Picture right = read_ppm(entry.path().string() + ".ppm");
    ASSERT_EQ(picture.width, right.width) << name;
    ASSERT_EQ(picture.height, right.height) << name;
    for (size_t i = 0; i < right.rgb.size(); ++i)
      ASSERT_NEAR(picture.rgb[i], right.rgb[i], tolerance(name)) << name << ", sample " << i;
  }
  EXPECT_GE(n_files, 23);
}

}  // namespace
}  // namespace fastcache::image
