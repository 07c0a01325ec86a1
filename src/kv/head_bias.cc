// SPDX-License-Identifier: Apache-2.0
#include "kv/head_bias.h"

#include <algorithm>
#include <cassert>

namespace fastcache::kv {
namespace {

size_t floats_per_page(int head_dim) { return page_payload_bytes(head_dim) / sizeof(float); }

}  // namespace

BiasPlan plan_bias(std::span<const TableEntry> entries, std::span<const float> bias, int head_dim) {
  BiasPlan plan{.offsets = std::vector<size_t>(entries.size()), .wanted = std::vector<bool>(entries.size())};
  if (bias.empty()) return plan;
  const size_t per_page = floats_per_page(head_dim);
  size_t row = 0, end = 0;
  for (size_t e = 0; e < entries.size(); ++e) {
    const std::span<const float> of_entry = bias.subspan(row, entries[e].rows_used);
    row += entries[e].rows_used;
    plan.wanted[e] = std::any_of(of_entry.begin(), of_entry.end(), [](float b) { return b != 0.0f; });
    if (!plan.wanted[e]) continue;
    const size_t n = static_cast<size_t>(rows_per_page(entries[e].type));
    if (end % per_page + n > per_page) end = (end / per_page + 1) * per_page;
    plan.offsets[e] = end;
    end += n;
  }
  assert(row == bias.size());
  plan.n_pages = (end + per_page - 1) / per_page;
  return plan;
}

std::shared_ptr<const HeadBias> write_bias(const PagePool& pool, const BiasPlan& plan,
                                           std::vector<PageId> pages, std::span<const float> bias,
                                           std::span<TableEntry> entries) {
  assert(pages.size() == plan.n_pages && entries.size() == plan.offsets.size());
  for (TableEntry& entry : entries) entry.extras = nullptr;
  if (pages.empty()) return nullptr;
  auto made = std::make_shared<HeadBias>();
  made->pages = std::move(pages);
  made->extras.reserve(entries.size());  // entries point into it
  const size_t per_page = floats_per_page(pool.head_dim());
  size_t row = 0;
  for (size_t e = 0; e < entries.size(); ++e) {
    TableEntry& entry = entries[e];
    if (plan.wanted[e]) {
      const size_t offset = plan.offsets[e];
      float* to =
          reinterpret_cast<float*>(pool.page(made->pages[offset / per_page]).payload) + offset % per_page;
      std::fill_n(to, rows_per_page(entry.type), 0.0f);
      std::copy_n(bias.begin() + static_cast<std::ptrdiff_t>(row), entry.rows_used, to);
      entry.extras = &made->extras.emplace_back(RowExtras{.bias = to});
    }
    row += entry.rows_used;
  }
  return made;
}

}  // namespace fastcache::kv
