// SPDX-License-Identifier: Apache-2.0
// What a sequence knows about each of its tokens. Rows of K and V point here, so that compression may drop
// rows without losing what they stood for. Owner: the engine thread; others read during a step.
//
// Invariant: position(t) never falls from one token to the next.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <span>
#include <vector>

namespace fastcache::kv {

struct Token {
  int32_t id = -1;         // vocabulary id; -1: an image embedding
  int32_t image = -1;      // segment: -1 is text, i the sequence's image i
  int16_t patch_row = -1;  // within that image
  int16_t patch_col = -1;
  std::array<int32_t, 4>
      position{};  // logical; [0] is the one that orders; the rest are M-RoPE's other sections
  int32_t sees_behind =
      0;  // so many tokens behind it its query sees too: in a picture that is read both ways
  bool operator==(const Token&) const = default;
};

inline Token text_token(int32_t id, int32_t position) {
  return {.id = id, .position = {position, position, position, position}};
}

class TokenTable {
 public:
  int size() const { return static_cast<int>(tokens_.size()); }
  const Token& operator[](int token) const { return tokens_[token]; }
  std::span<const Token> tokens() const { return tokens_; }

  int32_t position(int token) const { return positions_[token]; }
  const int32_t* positions() const { return positions_.data(); }  // [size]: position(t)
  // position(t) == t for every t so far; once false it stays false.
  bool positions_are_indices() const { return positions_are_indices_; }
  int32_t next_position() const { return next_position_; }  // one more than the largest, of all sections

  void append(std::span<const Token> tokens) {
    for (const Token& token : tokens) {
      assert(tokens_.empty() || token.position[0] >= positions_.back());
      positions_are_indices_ = positions_are_indices_ && token.position[0] == size();
      next_position_ = std::max(next_position_, after(token));
      tokens_.push_back(token);
      positions_.push_back(token.position[0]);
    }
  }

  void truncate_to(int n) {
    assert(n <= size());
    tokens_.resize(n);
    positions_.resize(n);
    next_position_ = 0;
    for (const Token& token : tokens_) next_position_ = std::max(next_position_, after(token));
  }

 private:
  static int32_t after(const Token& token) {
    return *std::max_element(token.position.begin(), token.position.end()) + 1;
  }

  std::vector<Token> tokens_;
  std::vector<int32_t> positions_;
  int32_t next_position_ = 0;
  bool positions_are_indices_ = true;
};

}  // namespace fastcache::kv
