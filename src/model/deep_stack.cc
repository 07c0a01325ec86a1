// SPDX-License-Identifier: Apache-2.0
#include "model/deep_stack.h"

#include <pthread.h>
#include <spdlog/fmt/fmt.h>
#include <sys/mman.h>
#include <unistd.h>

#include <exception>

#include "base/error.h"

namespace fastcache::model {
namespace {

// Not left to pthread_attr_setstacksize: glibc keeps stacks for later threads, and with them the memory.
class Stack {
 public:
  explicit Stack(size_t bytes) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size_ = (bytes + (size_t{1} << 20) + page) / page * page;
    base_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (base_ == MAP_FAILED)
      throw Error{Code::overloaded,
                  fmt::format("no room for a stack of {} bytes to tokenize a long text", size_)};
    mprotect(base_, page, PROT_NONE);  // running over the end must not hit a neighbour
  }
  ~Stack() { munmap(base_, size_); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void* base() const { return base_; }
  size_t size() const { return size_; }

 private:
  void* base_ = nullptr;
  size_t size_ = 0;
};

struct Job {
  const std::function<void()>& work;
  std::exception_ptr thrown;
};

void* run_job(void* argument) {
  Job& job = *static_cast<Job*>(argument);
  try {
    job.work();
  } catch (...) {
    job.thrown = std::current_exception();
  }
  return nullptr;
}

}  // namespace

void run_on_deep_stack(size_t bytes, const std::function<void()>& work) {
  const Stack stack(bytes);
  Job job{work, nullptr};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, stack.base(), stack.size());
  pthread_t thread;
  const int failed = pthread_create(&thread, &attributes, run_job, &job);
  pthread_attr_destroy(&attributes);
  if (failed != 0) throw Error{Code::overloaded, "no thread to tokenize a long text"};
  pthread_join(thread, nullptr);
  if (job.thrown) std::rethrow_exception(job.thrown);
}

}  // namespace fastcache::model
