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

// For plain loops that the compiler vectorises: one version per target, chosen at program start.
// Floating-point contraction is off in the whole program, so all versions give the same bits. Sanitizers run
// before the choice could be made, so they get the baseline only.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define FC_CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define FC_CLONES
#endif
