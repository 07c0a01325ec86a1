// SPDX-License-Identifier: Apache-2.0
#include "model/family.h"

#include <array>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "model/gemma3.h"
#include "model/llama.h"
#include "model/qwen2.h"
#include "model/qwen3.h"

namespace fastcache::model {
namespace {

struct FamilyRow {
  std::string_view architecture;
  std::unique_ptr<Family> (*load)(const GgufFile&, const HParams&, ComputePool&);
};

constexpr std::array kFamilies{
    FamilyRow{"llama", load_llama}, FamilyRow{"qwen2", load_qwen2},   FamilyRow{"qwen2vl", load_qwen2},
    FamilyRow{"qwen3", load_qwen3}, FamilyRow{"gemma3", load_gemma3},
};

}  // namespace

std::unique_ptr<Family> load_family(const GgufFile& file, const HParams& hparams, ComputePool& pool) {
  for (const FamilyRow& row : kFamilies) {
    if (row.architecture == hparams.architecture->name) return row.load(file, hparams, pool);
  }
  throw Error{Code::unsupported, fmt::format("{}: there is no graph for architecture '{}'", file.path(),
                                             hparams.architecture->name)};
}

}  // namespace fastcache::model
