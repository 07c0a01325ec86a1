// SPDX-License-Identifier: Apache-2.0
#include "kv/page_pool.h"

#include <spdlog/fmt/fmt.h>
#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>

#include "base/error.h"

namespace fastcache::kv {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

// Zeros, aligned to a huge page, backed by nothing until touched.
std::byte* map_aligned(size_t bytes) {
  void* start = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED)
    throw Error{Code::io,
                fmt::format("the system gave no {} bytes for the KV pool: {}; ask for a smaller pool", bytes,
                            std::system_category().message(errno))};
  const uintptr_t begin = reinterpret_cast<uintptr_t>(start);
  const uintptr_t aligned = round_up(begin, kHugePage);
  if (aligned > begin) munmap(start, aligned - begin);
  if (aligned < begin + kHugePage)
    munmap(reinterpret_cast<void*>(aligned + bytes), begin + kHugePage - aligned);
  madvise(reinterpret_cast<void*>(aligned), bytes, MADV_HUGEPAGE);  // a wish: refused is fine
  return reinterpret_cast<std::byte*>(aligned);
}

// Writes nothing that matters: the memory is zero before and after.
void touch(std::byte* begin, size_t bytes) {
#ifdef MADV_POPULATE_WRITE
  if (madvise(begin, bytes, MADV_POPULATE_WRITE) == 0) return;
#endif
  constexpr size_t kSmallestPage = 4096;
  for (size_t at = 0; at < bytes; at += kSmallestPage) *static_cast<volatile std::byte*>(begin + at) = {};
}

void check_options(const PoolOptions& options) {
  if (options.head_dim <= 0 || options.head_dim % 16 != 0)
    throw Error{Code::bad_request,
                fmt::format("KV pool: head_dim {} is not a multiple of 16", options.head_dim)};
  if (options.types.empty()) throw Error{Code::bad_request, "KV pool: no element type given"};
  if (options.reserve_pages < 0)
    throw Error{Code::bad_request, fmt::format("KV pool: reserve of {} pages", options.reserve_pages)};
}

}  // namespace

PagePool::PagePool(const PoolOptions& options) : options_(options) {
  check_options(options);
  memory_.payload_bytes = page_payload_bytes(options.head_dim);
  for (const KvType type : options.types)
    memory_.side_bytes = std::max(memory_.side_bytes, page_side_bytes(type));
  const size_t n = options.bytes / page_bytes();
  const size_t least = static_cast<size_t>(options.reserve_pages) + 1;
  if (n < least)
    throw Error{Code::pool_too_small,
                fmt::format("KV pool of {} bytes: at least {} are needed ({} pages of {})", options.bytes,
                            least * page_bytes(), least, page_bytes())};
  if (n > std::numeric_limits<PageId>::max())
    throw Error{Code::bad_request,
                fmt::format("KV pool of {} bytes has more pages than can be numbered", options.bytes)};
  pages_.resize(n);
  free_.reserve(n);  // so that release() never allocates
  count_[kFree] = n;
  map_memory();
}

PagePool::~PagePool() {
  assert(count_[kFree] == n_pages() && "sequences and blocks must be gone before their pool");
  munmap(memory_.payload, mapped_bytes_);
}

void PagePool::map_memory() {
  mapped_bytes_ = round_up(n_pages() * page_bytes(), kHugePage);
  memory_.payload = map_aligned(mapped_bytes_);
  if (options_.touch) touch(memory_.payload, mapped_bytes_);
  memory_.side = memory_.payload + n_pages() * memory_.payload_bytes;  // payload is a multiple of 1 KiB
}

bool PagePool::allows(KvType type) const {
  return is_quantized(type) ||
         std::find(options_.types.begin(), options_.types.end(), type) != options_.types.end();
}

size_t PagePool::available_pages() const {
  return free_pages() > reserve_pages() ? free_pages() - reserve_pages() : 0;
}

PoolUsage PagePool::usage() const {
  const size_t b = page_bytes();
  return {.total = n_pages() * b,
          .free = count_[kFree] * b,
          .prefill = count_[kPrefill] * b,
          .decode = count_[kDecode] * b,
          .compressed = count_[kCompressed] * b,
          .prefix_cached = count_[kPrefixCached] * b,
          .shared = count_[kShared] * b};
}

PagePool::Category PagePool::category(const PageInfo& info) {
  if (info.sequences == 0) return info.blocks == 0 ? kFree : kPrefixCached;
  if (info.sequences + info.blocks > 1) return kShared;
  switch (info.state) {
    case PageState::prefill:
      return kPrefill;
    case PageState::decode:
      return kDecode;
    case PageState::compressed:
      return kCompressed;
  }
  return kPrefill;
}

PageId PagePool::take_page() {
  if (free_.empty()) return next_untouched_++;
  const PageId id = free_.back();
  free_.pop_back();
  const PageRef zeroed = page(id);
  std::memset(zeroed.payload, 0, memory_.payload_bytes);
  if (zeroed.side != nullptr) std::memset(zeroed.side, 0, memory_.side_bytes);
  return id;
}

bool PagePool::allocate(std::span<PageId> pages, PageState state) {
  if (options_.faults != nullptr && options_.faults->should_fail()) return false;
  for (PageId& id : pages) {
    id = take_page();
    pages_[id] = {.sequences = 1, .blocks = 0, .state = state};
    --count_[kFree];
    ++count_[category(pages_[id])];
  }
  return true;
}

bool PagePool::try_allocate(std::span<PageId> pages, PageState state) {
  if (pages.empty()) return true;
  if (pages.size() > available_pages()) return false;
  return allocate(pages, state);
}

bool PagePool::try_allocate_for_commit(std::span<PageId> pages, size_t n_released, PageState state) {
  if (pages.empty()) return true;
  if (pages.size() > free_pages()) return false;
  const size_t least_after = std::min(free_pages(), reserve_pages());
  if (free_pages() - pages.size() + n_released < least_after) return false;
  return allocate(pages, state);
}

void PagePool::add_owner(PageId page, PageOwner owner) {
  PageInfo& info = pages_[page];
  assert(category(info) != kFree);
  --count_[category(info)];
  ++(owner == PageOwner::sequence ? info.sequences : info.blocks);
  ++count_[category(info)];
}

void PagePool::release(PageId page, PageOwner owner) noexcept {
  PageInfo& info = pages_[page];
  assert((owner == PageOwner::sequence ? info.sequences : info.blocks) > 0);
  --count_[category(info)];
  --(owner == PageOwner::sequence ? info.sequences : info.blocks);
  const Category now = category(info);
  ++count_[now];
  if (now == kFree) free_.push_back(page);
}

void PagePool::set_state(PageId page, PageState state) {
  PageInfo& info = pages_[page];
  assert(exclusive(page));
  --count_[category(info)];
  info.state = state;
  ++count_[category(info)];
}

void PagePool::check(std::span<const Owners> expected) const {
  const auto fail = [](const std::string& what) {
    throw Error{Code::internal, "KV pool is inconsistent: " + what};
  };
  if (expected.size() != n_pages()) fail("owners of another pool were given");
  std::vector<int> times_free(n_pages());
  for (const PageId id : free_) ++times_free[id];
  for (size_t id = next_untouched_; id < n_pages(); ++id) ++times_free[id];
  size_t count[kCategories] = {};
  for (size_t id = 0; id < n_pages(); ++id) {
    const PageInfo& info = pages_[id];
    if (Owners{info.sequences, info.blocks} != expected[id])
      fail(fmt::format("page {} counts {} sequences and {} blocks, but {} and {} hold it", id, info.sequences,
                       info.blocks, expected[id].sequences, expected[id].blocks));
    const Category now = category(info);
    if (times_free[id] != (now == kFree ? 1 : 0))
      fail(fmt::format("page {} with {} owners stands {} times in the free list", id,
                       info.sequences + info.blocks, times_free[id]));
    ++count[now];
  }
  for (int c = 0; c < kCategories; ++c)
    if (count[c] != count_[c])
      fail(fmt::format("category {} counts {} pages, but there are {}", c, count_[c], count[c]));
}

}  // namespace fastcache::kv
