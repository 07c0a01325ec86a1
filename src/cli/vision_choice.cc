// SPDX-License-Identifier: Apache-2.0
#include "cli/vision_choice.h"

#include <system_error>

#include "base/error.h"
#include "model/models.h"

namespace fastcache::cli {
namespace {

bool is_embedded(const std::string& model) {
  if (model.empty()) return true;
  const std::filesystem::path found = model::find_model(model);
  try {
    std::error_code ignored;
    return std::filesystem::equivalent(found, model::default_model(), ignored);
  } catch (const Error&) {
    return false;  // the embedded model is not installed
  }
}

}  // namespace

void choose_vision(const std::string& model, std::string& mmproj, std::string& lora) {
  if (mmproj == "none") {
    if (!lora.empty())
      throw Error{Code::bad_request, "--lora is for pictures, and --mmproj none asks for none"};
    mmproj.clear();
    return;
  }
  if (!mmproj.empty() || !lora.empty()) return;
  const auto files = model::default_vision();
  if (!files || !is_embedded(model)) return;
  mmproj = files->mmproj.string();
  lora = files->lora.string();
}

}  // namespace fastcache::cli
