// SPDX-License-Identifier: Apache-2.0
// The datasets by name, and which of their questions are asked. Thread-safe: no state.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/vision_question.h"

namespace fastcache::eval {

struct VisionDataset {
  const char* name;
  std::vector<VisionQuestion> (*load)(const std::string& folder);
  const char* cache_folder;  // below the per-user cache: where it lies without --data; null: nowhere
  const char* about;
};

std::span<const VisionDataset> vision_datasets();
// Throws Error (not_found) that lists them.
const VisionDataset& find_vision_dataset(const std::string& name);

// All questions of a dataset. folder: empty stands for the dataset's own place. Throws Error: as its loader,
// bad_request (no questions, no folder where there must be one).
std::vector<VisionQuestion> load_vision_questions(const VisionDataset& dataset, const std::string& folder);

struct QuestionChoice {
  std::vector<std::string> categories{};  // empty: all
  int n = 0;                              // drawn by the seed; 0, or more than there are: all
  uint64_t seed = 1;
};
// In the order that they have in the dataset: questions of one picture stay together. Throws Error
// (bad_request): a category that there is not, with those there are.
std::vector<VisionQuestion> choose_questions(std::vector<VisionQuestion> all, const QuestionChoice& choice);

}  // namespace fastcache::eval
