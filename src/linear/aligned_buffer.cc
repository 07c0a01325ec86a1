// SPDX-License-Identifier: Apache-2.0
#include "linear/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "linear/weight_arena.h"

namespace fastcache::linear {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

std::shared_ptr<std::byte> allocate_aligned(size_t bytes) {
  const size_t rounded = (bytes + 63) / 64 * 64;
  void* p = std::aligned_alloc(64, rounded == 0 ? 64 : rounded);
  if (p == nullptr) throw std::bad_alloc();
  std::memset(p, 0, rounded);
  return {static_cast<std::byte*>(p), [](std::byte* q) { std::free(q); }};
}

}  // namespace

std::shared_ptr<std::byte> map_huge(size_t bytes) {
  // Two steps, since mmap alone aligns to 4 KiB; what is not touched is never backed by memory.
  const size_t mapped = (bytes + kHugePage - 1) / kHugePage * kHugePage + kHugePage;
  void* p = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  const size_t past = reinterpret_cast<uintptr_t>(p) % kHugePage;
  std::byte* aligned = static_cast<std::byte*>(p) + (past == 0 ? 0 : kHugePage - past);
  madvise(aligned, mapped - kHugePage, MADV_HUGEPAGE);  // only a hint: refusal changes nothing
  return {aligned, [p, mapped](std::byte*) { munmap(p, mapped); }};
}

AlignedBuffer::AlignedBuffer(size_t size)
    : bytes_(size >= kHugePage ? map_huge(size) : allocate_aligned(size)), size_(size) {}

AlignedBuffer::AlignedBuffer(size_t size, WeightArena& arena) : bytes_(arena.allocate(size)), size_(size) {}

}  // namespace fastcache::linear
