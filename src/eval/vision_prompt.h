// SPDX-License-Identifier: Apache-2.0
// A question about pictures as the model's tokens, cut behind the last picture: what is compressed, and what
// comes after it. Owner: one thread.
#pragma once

#include <span>
#include <vector>

#include "base/compute_pool.h"
#include "eval/vision_question.h"
#include "eval/workbench.h"
#include "fastcache/picture.h"
#include "model/loaded_model.h"
#include "model/picture_prompt.h"
#include "model/vision_encoder.h"

namespace fastcache::eval {

struct PicturesRead {             // by the encoder: what questions on the same pictures share
  model::PicturePrompt prompt{};  // up to and with the last picture
  std::vector<model::EncodedPicture> encoded{};
  std::vector<const float*> embeddings{};  // [tokens of the prompt], into `encoded`
};

// Through the model's chat template, cut behind the last picture's place. With the pictures left in as
// kPictureToken.
struct QuestionTokens {
  Tokens context{};
  Tokens question{};  // with the beginning of the answer's turn
};
QuestionTokens question_tokens(const model::LoadedModel& model, const VisionQuestion& question);

bool same_pictures(const VisionQuestion& a, const VisionQuestion& b);  // and the same text before them

// How many tokens the context becomes; decodes the pictures, encodes none. Throws Error: the pictures.
int context_tokens(const model::VisionEncoder& vision, const QuestionTokens& tokens,
                   const VisionQuestion& question);

// Throws Error: the pictures, internal.
PicturesRead read_pictures(model::VisionEncoder& vision, ComputePool& threads, const QuestionTokens& tokens,
                           const VisionQuestion& question);

}  // namespace fastcache::eval
