// SPDX-License-Identifier: Apache-2.0
#include "eval/testing/vision_files.h"

#include <spdlog/fmt/fmt.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "base/test_seed.h"
#include "image/testing/encoders.h"
#include "model/testing/tiny_mmproj.h"

namespace fastcache::eval::test_support {

namespace fs = std::filesystem;

VisionFiles::VisionFiles() {
  model::test_support::write_tiny_model(model(), {.context_length = 2048});
  model::test_support::write_tiny_mmproj(mmproj(), {});
}

std::string VisionFiles::write(const std::string& name, const std::string& bytes) const {
  const std::string file = path(name);
  fs::create_directories(fs::path(file).parent_path());
  std::ofstream(file, std::ios::binary) << bytes;
  return file;
}

std::string VisionFiles::write_picture(const std::string& name, int salt) const {
  std::mt19937_64 random(test_seed() + static_cast<uint64_t>(salt));
  const auto bytes = image::test_support::encode_png(image::test_support::random_picture(40, 32, random));
  return write(name, {bytes.begin(), bytes.end()});
}

std::string VisionFiles::write_grid(const std::string& name, int n_pictures, int n_questions) const {
  std::string lines;
  for (int picture = 0; picture < n_pictures; ++picture) {
    const std::string file = fmt::format("pictures/{}.png", picture);
    write_picture(name + "/" + file, picture);
    for (int i = 0; i < n_questions; ++i)
      lines += fmt::format(
          R"({{"pictures": ["{}"], "before": ["Look: "], "kind": "{}", "question": "What is it, {}?", "answer": "none"}})"
          "\n",
          file, i == 0 ? "first" : "other", i);
  }
  write(name + "/questions.jsonl", lines);
  return path(name);
}

}  // namespace fastcache::eval::test_support
