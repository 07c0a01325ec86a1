// SPDX-License-Identifier: Apache-2.0
// Datasets in the layouts that their authors publish, as questions; a file for each. Pictures are named, not
// opened. Thread-safe.
//
// All throw Error: not_found (a file or a picture is missing), io, bad_request (not JSON, a member that is
// missing or of another type, no question at all): with the file, the entry and the member. Members that no
// loader knows are not looked at.
#pragma once

#include <string>
#include <vector>

#include "eval/vision_question.h"

namespace fastcache::eval {

// tools/train_vlm/write_dataset.py: FOLDER/questions.jsonl, a question a line with "pictures" (paths below
// the folder), "before" (text in front of each), "kind", "question" and "answer". Category: the kind.
std::vector<VisionQuestion> load_question_lines(const std::string& folder);

// The package easy-vqa 1.0: FOLDER/test/questions.json, a list of [question, answer, number of the picture],
// and FOLDER/test/images/<number>.png. Categories: open, yes/no.
std::vector<VisionQuestion> load_easy_vqa(const std::string& folder);

// MileBench (arXiv 2404.18532): in FOLDER, or one or two levels below it, <task>/<task>.json with
// meta_data.task_instruction [texts], and data [{task_instruction_id, task_instance: {context, images_path,
// choice_list}, response}]; pictures in images/ beside it. Category: the task.
std::vector<VisionQuestion> load_milebench(const std::string& folder);

// GQA (arXiv 1902.09506): FOLDER/testdev_balanced_questions.json, an object of {imageId, question, answer,
// types: {structural}}, and FOLDER/images/<imageId>.jpg. Category: the structural type.
std::vector<VisionQuestion> load_gqa(const std::string& folder);

}  // namespace fastcache::eval
