// SPDX-License-Identifier: Apache-2.0
// The seam of compression methods ("presses"): which rows of a sequence's cache stay.
//
// The life of a press, an object for each compression: needs() at admission, for what is to be kept of the
// prompt's queries (model/query_record.h); probes() behind the prefill, where the prompt is to be read again;
// then, in the compress stage (compress.h), score() of all layers, allocate() once, apply() per head; and
// with a decode_interval() the stage again, each time so many tokens were decoded. The const calls come from
// several compute threads at once: they must not throw, lock or touch the pool's books. Results never depend
// on threads, order of calls or chunking.
//
// A new press: one file with a PressRow in it, and its name in registry.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "press/layer_input.h"
#include "press/params.h"

namespace fastcache::press {

// What a press needs; also, as what a request and its model can deliver, the other side of check_needs().
struct PressNeeds {
  bool keys = false;                // cached K, after RoPE
  bool values = false;              // cached V
  int last_queries = 0;             // of that many last tokens
  bool query_statistics = false;    // mean and covariance of the queries before RoPE, per query head
  int statistics_skip = 4;          // first tokens of the sequence that they leave out
  bool received_attention = false;  // what each row received of all queries, see observe_attention()
  bool second_pass = false;         // the most that each row receives of the queries of probes()
  bool pre_rope_keys = false;
  bool hidden_states = false;      // at each layer's input
  bool output_weights = false;     // W_O
  bool question_boundary = false;  // where in the prompt the question begins
  bool seed = false;               // random: the seed is part of the identity
  bool key_channels = false;       // pages whose rows hold some of a key's channels only: none do so far
  bool new_rows = false;           // puts rows of its own in place of kept ones, and biases with them
  int n_layers = 0;                // a model of exactly that many; 0 = any
  int page_bits = 0;  // of the elements that it makes, at most: the cache's own have more; 0 = none

  bool looks_at_all_queries() const { return query_statistics || received_attention; }
  bool looks_at_queries() const { return last_queries > 0 || looks_at_all_queries(); }
};

// What both need together: of two numbers of layers the one that is not 0 (composed refuses two), of tokens
// skipped the smaller.
PressNeeds united(PressNeeds a, const PressNeeds& b);

// Throws Error (unsupported) with a sentence that names what is missing.
void check_needs(std::string_view press, const PressNeeds& needs, const PressNeeds& delivered);

// "keys", "last 64 queries", ...: for lists of presses.
std::vector<std::string> need_names(const PressNeeds& needs);

// An extra pass behind the prompt, for presses that look at how a text is read again: its tokens are fed at
// the positions that follow, see all of the prompt's rows, and are forgotten.
struct Probe {
  std::string instruction{};  // in front, in the model's own tokens; may be empty
  int first_token = 0;        // then the prompt's tokens [first_token, end_token) once more
  int end_token = 0;
};

using HeadScores = std::vector<float>;        // [candidates of the head], higher = keep, NaN = lowest
using LayerScores = std::vector<HeadScores>;  // [n_kv_heads]

struct Scores {  // of all candidates; pair = layer * n_kv_heads + head
  int n_layers = 0;
  int n_kv_heads = 0;
  std::vector<HeadScores> heads{};  // [pair]
  std::vector<int> n_staying{};     // [pair]: rows that are no candidates and stay

  int n_rows(int pair) const { return static_cast<int>(heads[pair].size()); }
};

using RowCounts = std::vector<int>;  // [pair]: how many candidates stay, 0 .. n_rows(pair)

// A change of format: the rows that a head holds afterwards become quantised, but for the last n_residual.
// Whole pages' worth of them: up to a page of the sequence's own type more may stay as they are.
struct Format {
  kv::KvType type = kv::KvType::q4;
  int n_residual = 0;
};

// What becomes of one head's candidates. A press that makes new rows (needs().new_rows) gives k and v: then
// these take the places of the rows that stay, and stand for their tokens.
struct Edit {
  std::vector<int32_t> rows{};  // those that stay, as candidate indices, strictly ascending
  std::vector<float> k{}, v{};  // [rows, head_dim], as stored; empty: the rows stay as they are
  std::vector<float> bias{};    // [rows], with k and v: added to the rows' scores, ln of the mass that each
                                //   stands for; empty: 0
  // Channels of the head's keys that stay, strictly ascending; empty: all. Refused (unsupported) for as long
  // as no page stores fewer: zeroed channels would free nothing.
  std::vector<int32_t> key_channels{};
  // Once all stages are through, so also of rows that are no candidates. Of several stages the last says it.
  std::optional<Format> format{};
};

class Press;

// A part of a press that compresses in several goes.
struct Stage {
  const Press* press = nullptr;
  Budget budget{};
};

class Press {
 public:
  virtual ~Press() = default;
  virtual PressNeeds needs() const = 0;

  // The passes that needs().second_pass asks for, after prefill and before score(), each over the same rows.
  // The prompt's new tokens are [first_token, end_token); no pass may be longer than those for first_token 0.
  virtual std::vector<Probe> probes(int /*first_token*/, int /*end_token*/) const { return {}; }

  // One after the other, each over the rows that the one before kept; score(), allocate() and apply() are
  // called on these. The presses live as long as this one.
  virtual std::vector<Stage> stages(const Budget& budget) const { return {{this, budget}}; }

  // During decoding: after so many more rows it comes again, over all rows that the sequence holds. 0: it
  // comes once, behind the prompt.
  virtual int decode_interval() const { return 0; }

  // With a decode_interval(): all heads together never hold more than the budget's rows and those of one
  // interval for each of them.
  virtual bool bounds_rows() const { return decode_interval() > 0; }

  virtual LayerScores score(const LayerInput& layer) const = 0;

  // As many as the budget says in every head, unless the method says otherwise. The counts' sum is exactly
  // that of the even shares: a method may move rows between heads, not use more memory. (But for a press
  // that has a budget for each layer of its own.)
  virtual RowCounts allocate(const Scores& scores, const Budget& budget) const;

  // The n_keep best, unless the method says otherwise. scores: [candidates of the head].
  virtual Edit apply(const LayerInput& layer, int head, std::span<const float> scores, int n_keep) const;
};

}  // namespace fastcache::press
