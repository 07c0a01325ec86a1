// SPDX-License-Identifier: Apache-2.0
// All memory for keys and values: a fixed number of equal pages, counted by owner. The only source of memory
// figures.
//
// Owner: the engine thread, for every call. Compute threads only read and write inside pages that the engine
// thread handed out for the step.
//
// Ownership is counted per page, because memory is freed per (layer, head): a page belongs to block tables of
// sequences (Sequence) and to the prefix cache (Block, and forks of sequences that it keeps), and is free
// again when the last of them lets go. Only a page with ONE owner may be written. Counts are plain integers.
//
// A page is all zeros when it is handed out, so rows never written read as zeros. Whoever cuts or moves rows
// clears what they leave behind; where the page is shared, the next append() takes a clean copy
// (HeadTable::stale_tail). So during a step all rows behind rows_used are zeros (in quantised pages zeros or
// finite codes): a kernel may read them, and no NaN of another sequence is among them.
//
// The mapping is made at once and touched page by page: a large pool starts instantly and costs what is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kv/allocation_faults.h"
#include "kv/page_layout.h"

namespace fastcache::kv {

struct PoolOptions {
  int head_dim = 0;  // multiple of 16
  size_t bytes = 0;  // payload and side areas together; rounded down to whole pages
  // What pages may hold: decides the size of the side area. Quantised types need none and are always allowed.
  std::vector<KvType> types{KvType::bf16};
  int reserve_pages = 0;  // lent to commits only (compression in a full pool)
  // The system backs the memory now: a machine that lacks it says so at the start, not in the middle of an
  // answer, and no step waits until pages are cleared (4 % of a batch of long prompts). 0.1 s or more per
  // GiB.
  bool touch = false;
  AllocationFaults* faults = nullptr;  // tests
};

// What a page was last filled for, while a single sequence owns it.
enum class PageState : uint8_t { prefill, decode, compressed };

enum class PageOwner : uint8_t { sequence, block };  // block: whatever the prefix cache keeps

struct PoolUsage {  // bytes; total = free + the others
  size_t total = 0;
  size_t free = 0;  // the reserve included
  size_t prefill = 0;
  size_t decode = 0;
  size_t compressed = 0;
  size_t prefix_cached = 0;  // owned by the prefix cache alone
  size_t shared = 0;         // several owners, at least one of them a sequence
};

class PagePool {
 public:
  // Throws Error: pool_too_small (not one page beside the reserve), bad_request, io (the system has no
  // address space).
  explicit PagePool(const PoolOptions& options);
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  int head_dim() const { return options_.head_dim; }
  bool allows(KvType type) const;
  const PageMemory& memory() const { return memory_; }
  PageRef page(PageId id) const { return memory_.page(id); }

  size_t page_bytes() const { return memory_.payload_bytes + memory_.side_bytes; }
  size_t n_pages() const { return pages_.size(); }
  size_t free_pages() const { return count_[kFree]; }  // the reserve included
  size_t reserve_pages() const { return static_cast<size_t>(options_.reserve_pages); }
  size_t available_pages() const;  // what try_allocate can give
  PoolUsage usage() const;

  // Fills `pages` with zeroed pages that the calling sequence owns alone; all or nothing (false, nothing
  // changed).
  bool try_allocate(std::span<PageId> pages, PageState state);

  // The same for a change of representation that at once gives n_released pages back: may borrow from the
  // reserve, but never leaves it smaller than it was.
  bool try_allocate_for_commit(std::span<PageId> pages, size_t n_released, PageState state);

  void add_owner(PageId page, PageOwner owner);
  void release(PageId page, PageOwner owner) noexcept;
  int n_owners(PageId page) const { return pages_[page].sequences + pages_[page].blocks; }
  bool exclusive(PageId page) const { return n_owners(page) == 1; }
  bool prefix_cached(PageId page) const { return category(pages_[page]) == kPrefixCached; }
  void set_state(PageId page, PageState state);  // by its single owner
  PageState state(PageId page) const { return pages_[page].state; }

  // Throws Error (internal) unless every page is either free once or owned exactly as often as given here.
  struct Owners {
    int sequences = 0;
    int blocks = 0;
    bool operator==(const Owners&) const = default;
  };
  void check(std::span<const Owners> expected) const;  // [n_pages]

 private:
  enum Category { kPrefill, kDecode, kCompressed, kPrefixCached, kShared, kFree, kCategories };
  struct PageInfo {
    int32_t sequences = 0;
    int32_t blocks = 0;
    PageState state = PageState::prefill;
  };

  static Category category(const PageInfo& info);
  void map_memory();
  bool allocate(std::span<PageId> pages, PageState state);
  PageId take_page();

  PoolOptions options_;
  PageMemory memory_;
  size_t mapped_bytes_ = 0;
  std::vector<PageInfo> pages_;     // [n_pages]
  std::vector<PageId> free_;        // used before; last freed, first taken
  PageId next_untouched_ = 0;       // this and all later pages were never used: still the system's zeros
  size_t count_[kCategories] = {};  // pages
};

}  // namespace fastcache::kv
