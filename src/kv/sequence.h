// SPDX-License-Identifier: Apache-2.0
// One sequence's cache: its tokens, and per (layer, KV head) a block table of pages.
//
// Owner: the engine thread, for every call that is not const. During a step compute threads call head_rows()
// and slot() and write the rows that append() made; the views hold until the next call that is not const.
//
// A sequence has three different numbers: token_count() (context, usage), next_position() (RoPE, windows) and
// rows_held() (memory, cost). They part company with M-RoPE and with compression.
//
// Scarcity is a value: what returns false has changed nothing. Pages may have several owners (fork, attach,
// blocks); whoever writes such a page first takes a copy of it, which append() counts and allocates like any
// other page.
//
// A step: append() -> write each slot() -> attention over head_rows(). After a step that failed,
// truncate_to() the old count. Sharing and compression come between steps, when all rows are written.
#pragma once

#include <span>
#include <vector>

#include "kv/block.h"
#include "kv/head_table.h"
#include "kv/page_pool.h"
#include "kv/token_table.h"

namespace fastcache::kv {

struct RowSlot {
  PageRef page;
  int row = 0;
  KvType type = KvType::bf16;
};

struct SequenceBytes {
  size_t exclusive = 0;  // what release() would free
  size_t shared = 0;
};

// Rows made by a press (merged, say) instead of kept ones. Not of a quantised type: see quantize_rows().
struct NewRows {
  KvType type = KvType::bf16;
  std::span<const int32_t> tokens;  // [n], strictly ascending: the token that each row stands for
  const float* k = nullptr;         // [n, head_dim]
  const float* v = nullptr;         // [n, head_dim]
  const float* bias = nullptr;      // [n]: added to the rows' scores; null = 0
};

// What a press made out of several rows: it takes the places of kept ones.
struct MergedRows {
  int first = 0;                // of the kept rows, the first that is replaced; all behind it are
  const float* k = nullptr;     // [kept rows - first, head_dim]; null: nothing is replaced
  const float* v = nullptr;     // the same shape
  const float* bias = nullptr;  // [kept rows - first]: added to their scores; null = 0
};

class Sequence {
 public:
  // The pool must allow the shape's type, and outlive the sequence.
  Sequence(PagePool& pool, const CacheShape& shape);
  ~Sequence() { release(); }
  Sequence(Sequence&& other) noexcept;
  Sequence& operator=(Sequence&& other) noexcept;

  const CacheShape& shape() const { return shape_; }
  const TokenTable& tokens() const { return tokens_; }
  int token_count() const { return tokens_.size(); }
  int32_t next_position() const { return tokens_.next_position(); }
  int rows_held(int layer, int head) const { return table(layer, head).n_rows; }
  // How many of them, the first ones, came out of a compression already; 0: the head was never compressed.
  int rows_compressed(int layer, int head) const { return table(layer, head).n_compressed; }
  int row_token(int layer, int head, int row) const { return table(layer, head).row_token(row); }
  const HeadTable& table(int layer, int head) const { return heads_[pair(layer, head)]; }
  SequenceBytes bytes() const;  // walks the tables

  // --- a step
  void set_state(PageState state) {
    state_ = state;
  }  // what new pages count as: prefill (at first) or decode
  size_t pages_to_append(int n_tokens) const;
  // Rows for all layers and heads at once. Positions may not fall; append_text takes the next ones.
  [[nodiscard]] bool append(std::span<const Token> tokens);
  [[nodiscard]] bool append_text(std::span<const int32_t> ids);
  HeadRows head_rows(int layer, int head) const { return table(layer, head).view(tokens_); }
  RowSlot slot(int layer, int head, int i) const;   // of the i-th token of the last append
  RowSlot row(int layer, int head, int row) const;  // of any row: for readers
  // Forgets the tokens from token_count on; never fails. What a sliding window freed does not come back.
  void truncate_to(int token_count) noexcept;
  void release() noexcept;  // all tokens and pages

  // --- sharing
  // Same content, no copy of any page yet. A fork for the prefix cache (PageOwner::block) only holds: it is
  // never appended to nor compressed, its pages count as prefix_cached, and forks of it are ordinary ones.
  Sequence fork(PageOwner owner = PageOwner::sequence) const;
  PageOwner owner() const { return owner_; }
  bool can_share_block(int block) const;  // full, and all its rows are still there, uncompressed
  Block share_block(int block) const;     // tokens [block * rows, (block + 1) * rows)
  // Starts an empty sequence from blocks of its shape; allocates nothing. tokens: exactly those of the
  // blocks.
  void attach(std::span<const Block* const> blocks, std::span<const Token> tokens);

  // --- compression, one (layer, head) at a time: false leaves the head as it was. Works in a full pool:
  // pages that this sequence owns alone are compacted in place, others copied with the pool's reserve. rows:
  // strictly ascending, of those held now; all of them: nothing changes.
  // Kept rows keep their biases, merged ones get new ones; a bias costs a page per 16 * head_dim rows of a
  // head, taken from those that come free, if there are any.
  [[nodiscard]] bool keep_rows(int layer, int head, std::span<const int32_t> rows,
                               const MergedRows& merged = {});
  [[nodiscard]] bool replace_rows(int layer, int head, const NewRows& rows);
  // keep_rows() and a change of format in one: the first n_quantized of `rows` become `type`, but for those
  // that are quantised already, the others stay as they are, bit for bit. Rows that move from one quantised
  // page to another are rounded a second time. A head that holds no other rows and would take no fewer pages
  // stays as it was (true).
  [[nodiscard]] bool quantize_rows(int layer, int head, std::span<const int32_t> rows, int n_quantized,
                                   KvType type);

  // During a step, before a layer's rows are written: of the last n_new tokens' rows only these go on, as
  // row() says; slot() does not know them. Nothing of it counts as compressed. kept: of 0 .. n_new - 1,
  // strictly ascending. False (no page) leaves the head as it was.
  [[nodiscard]] bool keep_new_rows(int layer, int head, int n_new, std::span<const int32_t> kept);

  // Frees a layer's pages all of whose rows stand before the position (sliding windows), a multiple of so
  // many table entries at a time: see attention::entries_per_group(), whose sums then stay the same.
  void free_before(int layer, int32_t position, int entries_multiple = 1) noexcept;
  // What that would free, in pages of this sequence's tables; biases aside.
  size_t pages_before(int layer, int32_t position, int entries_multiple = 1) const;

  // Throws Error (internal) when an invariant does not hold. Page counts: check_consistency in accounting.h.
  void check() const;

 private:
  struct Front {  // of a head's table
    size_t n_entries = 0;
    int n_rows = 0;
  };
  Front front_before(const HeadTable& head, int32_t position, int entries_multiple) const;
  int pair(int layer, int head) const { return layer * shape_.n_kv_heads + head; }
  int tail_room(const HeadTable& head) const;  // rows that fit into its last page
  size_t pages_to_extend(const HeadTable& head, int n) const;
  const PageId* extend(HeadTable& head, int n, const PageId* fresh);
  const PageId* own_tail(HeadTable& head, const PageId* fresh);
  void cut_rows(HeadTable& head, int n_kept) noexcept;
  void clear_rows(const TableEntry& entry, int begin, int end) const;
  void make_page(const HeadTable& head, std::span<const int32_t> rows, KvType type,
                 const PageRef& page) const;
  void drop_unused_bias(HeadTable& head) noexcept;
  void repoint(HeadTable& head, std::vector<TableEntry> entries, std::vector<int32_t> row_tokens,
               std::shared_ptr<const HeadBias> bias);

  PagePool* pool_;
  CacheShape shape_;
  PageOwner owner_ = PageOwner::sequence;  // as what it owns its pages
  PageState state_ = PageState::prefill;
  TokenTable tokens_;
  std::vector<HeadTable> heads_;  // [n_layers][n_kv_heads]
  int n_new_ = 0;                 // tokens of the last append, while slot() may be asked
  std::vector<PageId> fresh_;     // scratch of append
};

}  // namespace fastcache::kv
