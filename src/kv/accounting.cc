// SPDX-License-Identifier: Apache-2.0
#include "kv/accounting.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "base/error.h"

namespace fastcache::kv {
namespace {

void require(bool holds, const char* what) {
  if (!holds) throw Error{Code::internal, fmt::format("KV sequence is inconsistent: {}", what)};
}

bool is_of(const HeadBias& bias, const RowExtras* extras) {
  return std::any_of(bias.extras.begin(), bias.extras.end(),
                     [&](const RowExtras& e) { return &e == extras; });
}

void check_rows(const HeadTable& head, const TokenTable& tokens) {
  require(head.n_compressed <= (head.contiguous ? 0 : head.n_rows), "more compressed rows than rows");
  if (head.contiguous) {
    require(head.first_token + head.n_rows == tokens.size(), "contiguous rows do not end at the last token");
    require(head.row_tokens.empty() && head.row_positions.empty(), "contiguous rows with an array of tokens");
    return;
  }
  const auto& row_tokens = head.row_tokens;
  require(static_cast<int>(row_tokens.size()) == head.n_rows, "not one token for each row");
  require(
      std::adjacent_find(row_tokens.begin(), row_tokens.end(), std::greater_equal<>()) == row_tokens.end(),
      "tokens of rows do not ascend");
  require(row_tokens.empty() || (row_tokens.front() >= 0 && row_tokens.back() < tokens.size()),
          "a row of a token that is not there");
  const bool own_positions = !tokens.positions_are_indices();
  require(head.row_positions.size() == (own_positions ? row_tokens.size() : 0),
          "not one position for each row");
  for (size_t r = 0; r < head.row_positions.size(); ++r)
    require(head.row_positions[r] == tokens.position(row_tokens[r]),
            "a row with another position than its token");
}

}  // namespace

void Sequence::check() const {
  for (const HeadTable& head : heads_) {
    uint32_t n_rows = 0;
    std::set<PageId> pages;
    const RowExtras* last_extras = nullptr;
    for (const TableEntry& entry : head.entries) {
      require(entry.first_row == n_rows, "first_row is not the sum of the rows before");
      require(entry.rows_used > 0 && entry.rows_used <= rows_per_page(entry.type, pool_->head_dim()),
              "an empty or overfull page");
      require(pool_->allows(entry.type), "an element type that the pool does not allow");
      require(pages.insert(entry.page).second, "a page that stands twice in a table");
      if (entry.extras != nullptr) {
        require(head.bias != nullptr && is_of(*head.bias, entry.extras), "a bias that is not the head's");
        require(last_extras < entry.extras, "two pages with the same biases");
        last_extras = entry.extras;
      }
      n_rows += entry.rows_used;
    }
    require(head.bias == nullptr || last_extras != nullptr, "pages of biases that nobody uses");
    if (head.bias != nullptr)
      for (const PageId page : head.bias->pages)
        require(pages.insert(page).second, "a page of biases that stands twice in a table");
    require(n_rows == static_cast<uint32_t>(head.n_rows), "n_rows is not the sum of all entries");
    check_rows(head, tokens_);
  }
}

void check_consistency(const PagePool& pool, std::span<const Sequence* const> sequences,
                       std::span<const Block* const> blocks) {
  std::vector<PagePool::Owners> owners(pool.n_pages());
  for (const Sequence* sequence : sequences) {
    sequence->check();
    const CacheShape& shape = sequence->shape();
    for (int layer = 0; layer < shape.n_layers; ++layer)
      for (int head = 0; head < shape.n_kv_heads; ++head)
        sequence->table(layer, head).for_each_page([&](PageId page) {
          PagePool::Owners& of_page = owners[page];
          ++(sequence->owner() == PageOwner::sequence ? of_page.sequences : of_page.blocks);
        });
  }
  for (const Block* block : blocks)
    for (const PageId page : block->pages()) ++owners[page].blocks;
  pool.check(owners);
}

}  // namespace fastcache::kv
