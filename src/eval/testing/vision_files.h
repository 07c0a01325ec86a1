// SPDX-License-Identifier: Apache-2.0
// A tiny model that sees, and small datasets on disk. For tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/vision_question.h"
#include "model/testing/tiny_model.h"

namespace fastcache::eval::test_support {

class VisionFiles {
 public:
  VisionFiles();  // text.gguf and mmproj.gguf

  std::string path(const std::string& name) const { return folder_.file(name); }
  std::string model() const { return path("text.gguf"); }
  std::string mmproj() const { return path("mmproj.gguf"); }

  // Makes the folders above it.
  std::string write(const std::string& name, const std::string& bytes) const;
  std::string write_picture(const std::string& name, int salt) const;  // 40 x 32 pixels, as PNG

  // `name` is the folder, in the layout of tools/train_vlm: for each picture so many questions, of the kinds
  // "first" and "other", all with the answer "none".
  std::string write_grid(const std::string& name, int n_pictures, int n_questions) const;

 private:
  model::test_support::TemporaryFolder folder_;
};

}  // namespace fastcache::eval::test_support
