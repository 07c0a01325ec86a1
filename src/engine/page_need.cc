// SPDX-License-Identifier: Apache-2.0
#include "engine/page_need.h"

#include <algorithm>
#include <cassert>

namespace fastcache::engine {

int64_t PageNeed::pages_for(int n_tokens) const {
  if (n_tokens <= 0) return 0;
  int64_t pages = shared_tails;
  for (int room = 0; room < std::min(rows_per_page, n_tokens); ++room) {
    const int beyond = n_tokens - room;
    pages += int64_t{heads_with_room[room]} * ((beyond + rows_per_page - 1) / rows_per_page);
  }
  return pages;
}

int PageNeed::tokens_within(int n_tokens, int64_t n_pages) const {
  int enough = 0, too_many = n_tokens + 1;
  while (too_many - enough > 1) {
    const int middle = enough + (too_many - enough) / 2;
    (pages_for(middle) <= n_pages ? enough : too_many) = middle;
  }
  return enough;
}

PageNeed PageNeed::after(int n_tokens) const {
  if (n_tokens <= 0) return *this;
  PageNeed later;
  later.rows_per_page = rows_per_page;
  const int shift = n_tokens % rows_per_page;
  for (int room = 0; room < rows_per_page; ++room)
    later.heads_with_room[(room - shift + rows_per_page) % rows_per_page] += heads_with_room[room];
  return later;
}

int PageNeed::heads_with_open_tail() const {
  int n = 0;
  for (int room = 1; room < rows_per_page; ++room) n += heads_with_room[room];
  return n;
}

PageNeed empty_page_need(int n_heads, int rows_per_page) {
  assert(rows_per_page > 0 && rows_per_page <= PageNeed::kMaxRowsPerPage);
  PageNeed need;
  need.rows_per_page = rows_per_page;
  need.heads_with_room[0] = n_heads;
  return need;
}

int64_t pages_with_forks(const PageNeed& need, int n_tokens, int n_forks, int n_answer_tokens) {
  const PageNeed later = need.after(n_tokens);
  int64_t pages = need.pages_for(n_tokens) + n_forks * later.pages_for(n_answer_tokens);
  if (n_answer_tokens > 0) pages += int64_t{n_forks - 1} * later.heads_with_open_tail();
  return pages;
}

PageNeed page_need_of(const kv::Sequence& sequence, const kv::PagePool& pool) {
  const kv::CacheShape& shape = sequence.shape();
  PageNeed need = empty_page_need(0, shape.rows());
  for (int layer = 0; layer < shape.n_layers; ++layer)
    for (int head = 0; head < shape.n_kv_heads; ++head) {
      const kv::HeadTable& table = sequence.table(layer, head);
      int room = 0;
      bool stale = table.stale_tail;
      if (!table.entries.empty()) {
        const kv::TableEntry& tail = table.entries.back();
        const bool continues = tail.type == shape.type && tail.position_delta == 0 && tail.extras == nullptr;
        if (continues) room = shape.rows() - tail.rows_used;
        need.shared_tails += (room > 0 || stale) && !pool.exclusive(tail.page);
      }
      ++need.heads_with_room[room];
    }
  return need;
}

}  // namespace fastcache::engine
