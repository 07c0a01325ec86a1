// SPDX-License-Identifier: Apache-2.0
#include "model/models.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include "base/error.h"

namespace fastcache::model {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefaultModel = "SmolLM2-135M-Instruct-Q4_1.gguf";  // scripts/fetch puts them there
constexpr const char* kDefaultVision = "smollm2-135m-grid";

std::string variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody of us calls setenv
  return value == nullptr ? "" : value;
}

fs::path models_folder() { return cache_folder() / "models"; }

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

}  // namespace

fs::path cache_folder() {
  if (const std::string folder = variable("FASTCACHE_CACHE"); !folder.empty()) return fs::absolute(folder);
  if (const std::string folder = variable("XDG_CACHE_HOME"); !folder.empty())
    return fs::path(folder) / "fastcache";
  if (const std::string home = variable("HOME"); !home.empty())
    return fs::path(home) / ".cache" / "fastcache";
  throw Error{Code::not_found, "no cache folder: set FASTCACHE_CACHE, XDG_CACHE_HOME or HOME"};
}

std::vector<ModelFile> list_models() {
  std::vector<ModelFile> models;
  std::error_code error;
  // Not a range-for: its increment throws where a file vanishes meanwhile.
  for (fs::directory_iterator at(models_folder(), error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() != ".gguf" || !is_file(at->path())) continue;
    std::error_code ignored;
    const auto bytes = fs::file_size(at->path(), ignored);
    models.push_back({at->path(), ignored ? 0 : bytes});
  }
  std::sort(models.begin(), models.end(),
            [](const ModelFile& a, const ModelFile& b) { return a.path < b.path; });
  return models;
}

fs::path default_model() {
  const fs::path path = models_folder() / kDefaultModel;
  if (is_file(path)) return path;
  throw Error{
      Code::not_found,
      fmt::format("the embedded model {} does not exist; run `make setup`, or name a GGUF file with -m",
                  path.string())};
}

std::optional<VisionFiles> default_vision() {
  const fs::path folder = models_folder() / kDefaultVision;
  VisionFiles files{.mmproj = folder / "mmproj.gguf", .lora = folder / "adapter.gguf"};
  if (!is_file(files.mmproj) || !is_file(files.lora)) return {};
  return files;
}

fs::path find_model(const std::string& path_or_name) {
  if (path_or_name.empty()) return default_model();
  std::error_code ignored;
  if (fs::exists(path_or_name, ignored)) return path_or_name;
  if (path_or_name.find('/') == std::string::npos) {
    for (const std::string& name : {path_or_name, path_or_name + ".gguf"}) {
      if (is_file(models_folder() / name)) return models_folder() / name;
    }
  }
  std::string known;
  for (const ModelFile& model : list_models())
    known += (known.empty() ? "" : ", ") + model.path.filename().string();
  throw Error{Code::not_found,
              fmt::format("model '{}' is neither a file nor one of those in {} ({})", path_or_name,
                          models_folder().string(), known.empty() ? "none; run `make setup`" : known)};
}

}  // namespace fastcache::model
