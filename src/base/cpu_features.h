// SPDX-License-Identifier: Apache-2.0
// What the processor can do, and the instruction set that kernels are chosen for. Read once; immutable
// afterwards.
#pragma once

#include <span>
#include <string>

namespace fastcache {

struct CpuFeatures {
  bool avx2 = false;         // with FMA and F16C
  bool avx512 = false;       // F, BW, DQ, VL
  bool avx512_vnni = false;  // VPDPBUSD
  bool avx512_bf16 = false;  // VDPBF16PS
  std::string model_name;    // as the system calls it
};

const CpuFeatures& cpu_features();

// Best first. `avx512` needs VNNI and BF16 too: the kernels that use it want all of them.
enum class Isa { avx512, avx2, portable };
const char* isa_name(Isa isa);
bool isa_supported(Isa isa, const CpuFeatures& cpu);

// The best supported one, or the one forced by FASTCACHE_ISA=avx512|avx2|portable. Read and logged at the
// first call. Throws Error (bad_request) when the variable names something unknown, Error (unsupported) when
// this CPU lacks it.
Isa selected_isa();

}  // namespace fastcache
