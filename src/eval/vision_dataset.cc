// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_dataset.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "eval/vision_loaders.h"
#include "model/models.h"

namespace fastcache::eval {
namespace {

constexpr std::array kDatasets{
    VisionDataset{"easyvqa", load_easy_vqa, "datasets/easy-vqa-1.0",
                  "easy-VQA's test part, one shape a picture"},
    VisionDataset{"grid", load_question_lines, nullptr, "16 cells a picture, made by tools/train_vlm"},
    VisionDataset{"multi-image", load_question_lines, nullptr, "several pictures, made by tools/train_vlm"},
    VisionDataset{"milebench", load_milebench, nullptr, "MileBench, many pictures"},
    VisionDataset{"gqa", load_gqa, nullptr, "GQA's balanced test-dev part, photographs"}};

std::string folder_of(const VisionDataset& dataset, const std::string& folder) {
  if (!folder.empty()) return folder;
  if (dataset.cache_folder == nullptr)
    throw Error{Code::bad_request,
                fmt::format("--dataset {} needs --data FOLDER, where it lies", dataset.name)};
  const auto own = model::cache_folder() / dataset.cache_folder;
  std::error_code ignored;
  if (!std::filesystem::is_directory(own, ignored))
    throw Error{Code::not_found, fmt::format("{} is not there; `scripts/fetch easy-vqa` brings it, or --data "
                                             "names another folder",
                                             own.string())};
  return own.string();
}

}  // namespace

std::span<const VisionDataset> vision_datasets() { return kDatasets; }

const VisionDataset& find_vision_dataset(const std::string& name) {
  std::vector<std::string> names;
  for (const VisionDataset& dataset : kDatasets) {
    if (dataset.name == name) return dataset;
    names.emplace_back(dataset.name);
  }
  throw Error{Code::not_found, fmt::format("--dataset {}: there is none of that name; there are {}", name,
                                           fmt::join(names, ", "))};
}

std::vector<VisionQuestion> load_vision_questions(const VisionDataset& dataset, const std::string& folder) {
  const std::string place = folder_of(dataset, folder);
  std::vector<VisionQuestion> questions = dataset.load(place);
  if (questions.empty()) throw Error{Code::bad_request, fmt::format("{}: there is no question in it", place)};
  return questions;
}

std::vector<VisionQuestion> choose_questions(std::vector<VisionQuestion> all, const QuestionChoice& choice) {
  std::set<std::string> known;
  for (const VisionQuestion& question : all) known.insert(question.category);
  for (const std::string& category : choice.categories)
    if (!known.contains(category))
      throw Error{Code::bad_request, fmt::format("--categories {}: there is none of that name; there are {}",
                                                 category, fmt::join(known, ", "))};
  if (!choice.categories.empty())
    std::erase_if(all, [&](const VisionQuestion& question) {
      return std::find(choice.categories.begin(), choice.categories.end(), question.category) ==
             choice.categories.end();
    });
  const auto n = static_cast<size_t>(std::max(choice.n, 0));
  if (n == 0 || n >= all.size()) return all;
  std::vector<size_t> order(all.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::mt19937_64 random(choice.seed);  // std::sample draws differently from library to library
  for (size_t i = 0; i < n; ++i) std::swap(order[i], order[i + random() % (order.size() - i)]);
  order.resize(n);
  std::sort(order.begin(), order.end());
  std::vector<VisionQuestion> chosen;
  for (const size_t index : order) chosen.push_back(std::move(all[index]));
  return chosen;
}

}  // namespace fastcache::eval
