// SPDX-License-Identifier: Apache-2.0
#include "engine/request_state.h"

namespace fastcache::engine {

std::vector<kv::Token> AnswerState::kv_tokens(int begin, int end) const {
  std::vector<kv::Token> made;
  made.reserve(static_cast<size_t>(end - begin));
  const model::PicturePrompt& pictures = request->picture_prompt;
  const int n_special = static_cast<int>(pictures.tokens.size());
  for (int i = begin; i < end; ++i) {
    if (i < n_special)
      made.push_back(pictures.tokens[static_cast<size_t>(i)]);
    else
      made.push_back(kv::text_token(tokens[static_cast<size_t>(i)], pictures.next_position + i - n_special));
  }
  return made;
}

std::vector<const float*> AnswerState::embeddings(int begin, int end) const {
  const model::PicturePrompt& pictures = request->picture_prompt;
  const int n_special = static_cast<int>(pictures.tokens.size());
  std::vector<const float*> rows;
  for (int i = begin; i < std::min(end, n_special); ++i) {
    const int32_t row = pictures.rows[static_cast<size_t>(i)];
    if (row < 0) continue;
    if (rows.empty()) rows.resize(static_cast<size_t>(end - begin), nullptr);
    const kv::Token& token = pictures.tokens[static_cast<size_t>(i)];
    const PictureState& picture = request->pictures[static_cast<size_t>(token.image)];
    rows[static_cast<size_t>(i - begin)] =
        picture.embeddings->data() + static_cast<size_t>(row) * static_cast<size_t>(request->n_embd);
  }
  return rows;
}

int AnswerState::step_end(int begin, int end) const {
  return request->grids_are_whole ? model::uncut_end(request->picture_prompt, begin, end) : end;
}

}  // namespace fastcache::engine
