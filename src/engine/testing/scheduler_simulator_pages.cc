// SPDX-License-Identifier: Apache-2.0
// The simulator's pages: counted owners in plain loops.
#include <algorithm>
#include <stdexcept>

#include "engine/testing/scheduler_simulator.h"

namespace fastcache::engine::testing {

int SchedulerSimulator::free_pages() const {
  int n = 0;
  for (int page = 0; page < options_.n_pages; ++page) n += is_free(page);
  return n;
}

int SchedulerSimulator::take_page() {
  for (int page = 0; page < options_.n_pages; ++page)
    if (is_free(page)) {
      sequence_owners_[page] = 1;
      return page;
    }
  throw std::logic_error("the plan takes more pages than there are");
}

void SchedulerSimulator::release(SimSequence& s, SimState state) {
  for (SimSequence::Head& head : s.heads) {
    for (const int page : head.pages) --sequence_owners_[page];
    head = {};
  }
  s.state = state;
  s.end_ms = now_ms_;
}

PageNeed SchedulerSimulator::need_of(const SimSequence& s) const {
  PageNeed need = empty_page_need(0, options_.rows_per_page);
  for (const SimSequence::Head& head : s.heads) {
    const int room = head.pages.empty() ? 0 : options_.rows_per_page - head.tail_rows;
    ++need.heads_with_room[room];
    if (room > 0)
      need.shared_tails += sequence_owners_[head.pages.back()] + cache_owners_[head.pages.back()] > 1;
  }
  return need;
}

void SchedulerSimulator::append(SimSequence& s, int n_tokens) {
  for (SimSequence::Head& head : s.heads)
    for (int i = 0; i < n_tokens; ++i) {
      if (head.pages.empty() || head.tail_rows == options_.rows_per_page) {
        head.pages.push_back(take_page());
        head.tail_rows = 0;
      } else if (int& tail = head.pages.back(); sequence_owners_[tail] + cache_owners_[tail] > 1) {
        const int copy = take_page();
        --sequence_owners_[tail];
        tail = copy;
      }
      ++head.tail_rows;
      ++head.rows;
    }
}

void SchedulerSimulator::finish_prefill(SimSequence& s) {
  const int group = s.job.prefix_group;
  const auto known = [&](const CacheEntry& e) { return e.group == group; };
  if (group >= 0 && std::none_of(cache_.begin(), cache_.end(), known)) {
    CacheEntry entry{.group = group, .pages = {}};
    for (const SimSequence::Head& head : s.heads) {
      const int n_full = std::min(head.rows, s.job.prompt_tokens) / options_.rows_per_page;
      entry.pages.emplace_back(head.pages.begin(), head.pages.begin() + n_full);
      for (const int page : entry.pages.back()) ++cache_owners_[page];
    }
    cache_.push_back(entry);
  }
  if (s.job.compress)
    s.stage = Stage::compress;
  else
    first_token(s);
}

// Each head keeps another number of rows. Pages that others own too stay as they are.
void SchedulerSimulator::compress(SimSequence& s) {
  for (SimSequence::Head& head : s.heads) {
    const auto shared = [&](int page) { return sequence_owners_[page] + cache_owners_[page] > 1; };
    if (std::any_of(head.pages.begin(), head.pages.end(), shared)) continue;
    head.rows = std::uniform_int_distribution<int>(1, head.rows)(random_);
    const size_t n_pages = (head.rows + options_.rows_per_page - 1) / options_.rows_per_page;
    for (; head.pages.size() > n_pages; head.pages.pop_back()) --sequence_owners_[head.pages.back()];
    head.tail_rows = head.rows - (static_cast<int>(n_pages) - 1) * options_.rows_per_page;
  }
}

// At least one token is left to prefill.
int SchedulerSimulator::prefix_pages(const SimSequence& s, const CacheEntry** entry) const {
  for (const CacheEntry& e : cache_)
    if (e.group == s.job.prefix_group) {
      *entry = &e;
      const int most = std::min(s.job.prompt_tokens, s.tokens_to_prefill - 1) / options_.rows_per_page;
      return std::min(most, static_cast<int>(e.pages[0].size()));
    }
  return 0;
}

void SchedulerSimulator::attach_prefix(SimSequence& s) {
  const CacheEntry* entry = nullptr;
  const int n = prefix_pages(s, &entry);
  if (n == 0) return;
  for (int h = 0; h < options_.n_heads; ++h) {
    SimSequence::Head& head = s.heads[h];
    head.pages.assign(entry->pages[h].begin(), entry->pages[h].begin() + n);
    for (const int page : head.pages) ++sequence_owners_[page];
    head.rows = n * options_.rows_per_page;
    head.tail_rows = options_.rows_per_page;
  }
  s.tokens_to_prefill -= n * options_.rows_per_page;
  std::rotate(cache_.begin() + (entry - cache_.data()), cache_.begin() + (entry - cache_.data()) + 1,
              cache_.end());
}

void SchedulerSimulator::drop_pages(int64_t n) {
  const int before = free_pages();
  while (free_pages() - before < n) {
    if (cache_.empty()) throw std::logic_error("the plan drops more pages than the prefix cache holds alone");
    for (const auto& pages : cache_.front().pages)
      for (const int page : pages) --cache_owners_[page];
    cache_.erase(cache_.begin());
  }
}

void SchedulerSimulator::drop_cache() {
  for (; !cache_.empty(); cache_.pop_back())
    for (const auto& pages : cache_.back().pages)
      for (const int page : pages) --cache_owners_[page];
}

void SchedulerSimulator::check_counts() const {
  std::vector<int> sequences(options_.n_pages), cached(options_.n_pages);
  for (const SimSequence& s : sequences_) {
    for (const SimSequence::Head& head : s.heads) {
      for (const int page : head.pages) ++sequences[page];
      if (s.state != SimState::running && !head.pages.empty())
        throw std::logic_error("a request that does not run holds pages");
    }
  }
  for (const CacheEntry& entry : cache_)
    for (const auto& pages : entry.pages)
      for (const int page : pages) ++cached[page];
  if (sequences != sequence_owners_ || cached != cache_owners_)
    throw std::logic_error("a page is owned more or less often than counted");
}

}  // namespace fastcache::engine::testing
