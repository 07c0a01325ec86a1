// SPDX-License-Identifier: Apache-2.0
#include "linear/kernels.h"

#include <vector>

namespace fastcache::linear {
namespace {

constexpr const KernelTable* kAllKernels[] = {
#if defined(__x86_64__)
    &kAvx512Kernels,
    &kAvx2Kernels,
#endif
    &kPortableKernels,
};

}  // namespace

std::span<const KernelTable* const> supported_kernels() {
  static const std::vector<const KernelTable*> supported = [] {
    std::vector<const KernelTable*> found;
    for (const KernelTable* table : kAllKernels) {
      if (isa_supported(table->isa, cpu_features())) found.push_back(table);
    }
    return found;
  }();
  return supported;
}

const KernelTable& kernels() {
  static const KernelTable& selected = []() -> const KernelTable& {
    const Isa isa = selected_isa();
    for (const KernelTable* table : supported_kernels()) {
      if (table->isa == isa) return *table;
    }
    return kPortableKernels;
  }();
  return selected;
}

}  // namespace fastcache::linear
