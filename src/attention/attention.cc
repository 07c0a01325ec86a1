// SPDX-License-Identifier: Apache-2.0
#include "attention/attention.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "attention/attention_kernel.h"
#include "attention/attention_plan.h"
#include "attention/attention_tile.h"
#include "base/error.h"
#include "base/log.h"
#include "base/simd.h"

namespace fastcache::attention {
namespace {

// Numbers below 2^-126 count as 0 while it lives: VDPBF16PS does that in any case, and whether a sum passes
// through one more instruction (a hidden page next to it) must not show. It also keeps tiny weights from
// being slow.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040U); }  // FTZ, DAZ
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};

// The shape comes from a model file, so it is checked; the tables are our own, so they are asserted.
void check(const AttentionShape& shape) {
  if (shape.head_dim < 16 || shape.head_dim % 16 != 0 || shape.head_dim > kMaxHeadDim) {
    throw Error{Code::unsupported,
                fmt::format("attention: head dimension {} is not a multiple of 16 from 16 to {}",
                            shape.head_dim, kMaxHeadDim)};
  }
  if (shape.n_kv_heads < 1 || shape.n_heads < shape.n_kv_heads || shape.n_heads % shape.n_kv_heads != 0) {
    throw Error{Code::unsupported, fmt::format("attention: {} query heads cannot share {} KV heads evenly",
                                               shape.n_heads, shape.n_kv_heads)};
  }
}

void check(const AttentionBatch& batch) {
  for ([[maybe_unused]] const AttentionSequence& sequence : batch.sequences) {
    assert(static_cast<int>(sequence.heads.size()) == batch.shape.n_kv_heads);
    assert(batch.shape.window == 0 || sequence.query_positions != nullptr);
    for ([[maybe_unused]] const kv::HeadRows& head : sequence.heads)
      assert(head.n_rows >= sequence.n_queries);
  }
}

}  // namespace

AttentionShape layer_shape(const AttentionShape& of_model, int layer) {
  AttentionShape shape = of_model;
  shape.local = nullptr;
  if (of_model.local == nullptr || !of_model.local->is_local[static_cast<size_t>(layer)]) return shape;
  shape.window = of_model.local->window;
  shape.rope = of_model.local->rope;
  return shape;
}

std::span<const AttentionKernel* const> attention_kernels() {
  static const std::vector<const AttentionKernel*> supported = [] {
    constexpr std::array kAll {
#if defined(__x86_64__)
      &kAttentionCpuAvx512, &kAttentionCpuAvx2,
#endif
          &kAttentionCpu
    };
    std::vector<const AttentionKernel*> found;
    for (const AttentionKernel* kernel : kAll) {
      if (isa_supported(kernel->isa, cpu_features())) found.push_back(kernel);
    }
    return found;
  }();
  return supported;
}

const AttentionKernel& attention_kernel() {
  const Isa isa = selected_isa();
  for (const AttentionKernel* kernel : attention_kernels()) {
    if (kernel->isa == isa) return *kernel;
  }
  return kAttentionCpu;  // an instruction set without a kernel of its own
}

struct AttentionWork::Impl {
  const AttentionKernel* kernel = nullptr;
  AttentionBatch batch;
  AttentionPlan plan;
};

AttentionWork::AttentionWork() : AttentionWork(attention_kernel()) {}
AttentionWork::AttentionWork(const AttentionKernel& kernel) : impl_(std::make_unique<Impl>()) {
  impl_->kernel = &kernel;
}
AttentionWork::~AttentionWork() = default;
AttentionWork::AttentionWork(AttentionWork&&) noexcept = default;
AttentionWork& AttentionWork::operator=(AttentionWork&&) noexcept = default;

void AttentionWork::plan(const AttentionBatch& batch, int n_threads) {
  check(batch.shape);
  check(batch);
  impl_->batch = batch;
  impl_->plan.make(batch, std::max(n_threads, 1));
}

void AttentionWork::run(const WorkRange& range) noexcept { run(range, impl_->batch.q, impl_->batch.out); }

void AttentionWork::run(const WorkRange& range, const float* q, float* out) noexcept {
  AttentionBatch batch = impl_->batch;
  batch.q = q;
  batch.out = out;
  [[maybe_unused]] const FlushDenormals flush;
  const int n_tasks = static_cast<int>(impl_->plan.tasks.size());
  for (int i = range.tasks->take(); i < n_tasks; i = range.tasks->take()) {
    run_task(*impl_->kernel, batch, impl_->plan, impl_->plan.tasks[static_cast<size_t>(i)]);
  }
}

}  // namespace fastcache::attention
