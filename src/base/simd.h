// SPDX-License-Identifier: Apache-2.0
// Target regions: the rest of the program is built for the baseline CPU, kernels alone for more. All includes
// of a kernel file stand above FC_TARGET_BEGIN, so that no shared inline function is compiled for the wider
// target.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define FC_PRAGMA(x) _Pragma(#x)

#if defined(__x86_64__) && defined(__clang__)
#define FC_TARGET_BEGIN(features) \
  FC_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define FC_TARGET_END FC_PRAGMA(clang attribute pop)
#elif defined(__x86_64__)
#define FC_TARGET_BEGIN(features) FC_PRAGMA(GCC push_options) FC_PRAGMA(GCC target(features))
#define FC_TARGET_END FC_PRAGMA(GCC pop_options)
#endif

#define FC_AVX2_TARGET "avx2,fma,f16c"
#define FC_AVX512_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16"
