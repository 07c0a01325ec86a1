// SPDX-License-Identifier: Apache-2.0
// Each hot kernel of a model against what this machine can do at best: the product's own kernels, at the
// model's shapes and weight types, on all compute threads. Owner: one thread.
#pragma once

#include <string>
#include <vector>

#include "base/compute_pool.h"
#include "base/machine_peak.h"
#include "kv/page_layout.h"
#include "model/gguf_file.h"
#include "model/hparams.h"

namespace fastcache::bench {

struct KernelSpeed {
  std::string kernel;  // "gate_up q4_1 576 -> 3072", "attention bf16"
  std::string shape;   // "512 rows", "decode at 4096"
  double seconds = 0;  // median
  double operations_per_s = 0;
  double bytes_per_s = 0;
  double limit_s = 0;           // the least time that the machine's peaks allow
  const char* limited_by = "";  // which peak that is
  double share() const { return limit_s / seconds; }
};

struct KernelReport {
  MachinePeak peak;
  std::vector<KernelSpeed> kernels;
};

// Throws Error (invalid_model) when the file lacks a tensor of the llama family.
KernelReport measure_kernels(const model::GgufFile& file, const model::HParams& hparams, kv::KvType kv_type,
                             ComputePool& compute);

}  // namespace fastcache::bench
