// SPDX-License-Identifier: Apache-2.0
// Whether an answer to a question about pictures is right. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "eval/vision_question.h"

namespace fastcache::eval {

// 0 to 1; between them only with Match::parts. Spaces and line ends around an answer never count.
double score_answer(const VisionQuestion& question, std::string_view answer);

// Choices are told apart by letters, unless there are too many.
bool has_letters(const std::vector<std::string>& choices);
char choice_letter(size_t index);

std::string_view trimmed(std::string_view text);

}  // namespace fastcache::eval
