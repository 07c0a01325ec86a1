// SPDX-License-Identifier: Apache-2.0
// Where model files lie: <cache>/models/*.gguf, filled by `make setup`. The cache is $FASTCACHE_CACHE, else
// $XDG_CACHE_HOME/fastcache, else ~/.cache/fastcache: the same rule as scripts/cachelib.py.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace fastcache::model {

std::filesystem::path
cache_folder();  // may not exist; throws Error (not_found) if no variable says where it is

struct ModelFile {
  std::filesystem::path path;
  uint64_t bytes = 0;
};
std::vector<ModelFile> list_models();  // by name; empty if the folder does not exist

// The embedded model. Throws Error (not_found) that says to run `make setup`.
std::filesystem::path default_model();

// The vision encoder and the LoRA adapter that make the embedded model one for pictures, put into
// <cache>/models/smollm2-135m-grid by `make setup`; nothing where one of them is missing.
struct VisionFiles {
  std::filesystem::path mmproj, lora;
};
std::optional<VisionFiles> default_vision();

// What `-m` means: an existing path, else the name of a file in the models folder, with or without ".gguf";
// empty is the default model. Throws Error (not_found) that lists what is there.
std::filesystem::path find_model(const std::string& path_or_name);

}  // namespace fastcache::model
