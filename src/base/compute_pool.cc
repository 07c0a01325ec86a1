// SPDX-License-Identifier: Apache-2.0
#include "base/compute_pool.h"

#include <ggml-cpu.h>
#include <ggml.h>
#include <sched.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/log.h"

namespace fastcache {
namespace {

constexpr int kMaxThreads = 512;

// Idle workers look for new work for about a millisecond before they sleep: longer than the pause between two
// decode steps, short enough that an idle program uses no CPU.
constexpr uint32_t kPollLevel = 1;

int usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return 1;
}

// What the single node of run()'s graph calls.
struct Job {
  const std::function<void(const WorkRange&)>* work = nullptr;
  TaskCounter tasks;
};

void call_job(ggml_tensor* /*dst*/, int ith, int nth, void* userdata) {
  Job* job = static_cast<Job*>(userdata);
  (*job->work)({.thread = ith, .n_threads = nth, .tasks = &job->tasks});
}

}  // namespace

struct ComputePool::Impl {
  int n_threads = 1;
  ggml_threadpool* threads = nullptr;  // started(): not before the first work
  ggml_context* context = nullptr;
  ggml_cgraph* job_graph = nullptr;
  Job job;
  std::vector<uint8_t> scratch;  // what ggml's own nodes ask for

  ~Impl() {
    if (context != nullptr) ggml_free(context);
    if (threads != nullptr) ggml_threadpool_free(threads);
  }

  ggml_threadpool* started() {
    if (threads == nullptr) {
      ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
      params.poll = kPollLevel;
      threads = ggml_threadpool_new(&params);
      if (threads == nullptr) throw Error{Code::internal, "the compute threads could not be started"};
    }
    return threads;
  }

  void build_job_graph() {
    const size_t bytes = ggml_tensor_overhead() * 4 + ggml_graph_overhead_custom(4, false) + 1024;
    context = ggml_init({.mem_size = bytes, .mem_buffer = nullptr, .no_alloc = false});
    ggml_tensor* node =
        ggml_custom_4d(context, GGML_TYPE_F32, 1, 1, 1, 1, nullptr, 0, call_job, GGML_N_TASKS_MAX, &job);
    job_graph = ggml_new_graph_custom(context, 4, false);
    ggml_build_forward_expand(job_graph, node);
  }
};

ComputePool::ComputePool(int n_threads) : impl_(std::make_unique<Impl>()) {
  if (n_threads < 0 || n_threads > kMaxThreads) {
    throw Error{Code::bad_request,
                fmt::format("{} compute threads asked for; it must be 1 to {} (0 = one per core)", n_threads,
                            kMaxThreads)};
  }
  impl_->n_threads = n_threads == 0 ? std::min(usable_cores(), kMaxThreads) : n_threads;
  impl_->build_job_graph();
}

ComputePool::~ComputePool() = default;

int ComputePool::n_threads() const { return impl_->n_threads; }

ggml_threadpool* ComputePool::ggml() const { return impl_->started(); }

void ComputePool::run(const std::function<void(const WorkRange&)>& work) {
  impl_->job.work = &work;
  impl_->job.tasks.reset();
  compute(impl_->job_graph);
}

void ComputePool::parallel_for(int n, const std::function<void(int)>& body) {
  if (n <= 1 || impl_->n_threads == 1) {
    for (int i = 0; i < n; ++i) body(i);
    return;
  }
  run([&](const WorkRange& range) {
    for (int i = range.tasks->take(); i < n; i = range.tasks->take()) body(i);
  });
}

void ComputePool::compute(ggml_cgraph* graph) {
  ggml_cplan plan = ggml_graph_plan(graph, impl_->n_threads, impl_->started());
  if (plan.work_size > impl_->scratch.size()) impl_->scratch.resize(plan.work_size);
  plan.work_data = impl_->scratch.data();
  const ggml_status status = ggml_graph_compute(graph, &plan);
  if (status != GGML_STATUS_SUCCESS) {
    throw Error{Code::internal,
                fmt::format("ggml could not compute a graph: {}", ggml_status_to_string(status))};
  }
}

}  // namespace fastcache
