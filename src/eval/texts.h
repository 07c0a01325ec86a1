// SPDX-License-Identifier: Apache-2.0
// The texts that quality is measured on: documents that a Debian machine has anyhow, or what a user names.
// Which ones are taken depends on the files and the seed alone. Thread-safe: no state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/workbench.h"
#include "model/vocab.h"

namespace fastcache::eval {

struct Text {
  std::string name;  // path, and of JSON lines the number of the line
  std::string text;  // UTF-8
};

struct TokenText {
  std::string name;
  Tokens tokens;
};

struct TextWish {
  int n = 0;           // texts; fewer where there are no more that are long enough
  int min_tokens = 0;  // of each
  uint64_t seed = 1;
};

// Folders of a system's documents. Tests point them elsewhere.
struct SystemFolders {
  std::string licences = "/usr/share/common-licenses";
  std::string manuals = "/usr/share/man";
  std::string documents = "/usr/share/doc";  // changelogs and copyright files
};

// In turn a licence, a page of the manual and a changelog, each by the seed. Throws Error (not_found) where
// there is none that is long enough, and says how to name others.
std::vector<TokenText> system_texts(const model::Vocab& vocab, const TextWish& wish,
                                    const SystemFolders& folders = {});

// path: a folder (all text files below it, also .gz), a file, or a .jsonl file, each line an object with
// "text". Throws Error: not_found, bad_request (a broken line; no text that is long enough, and how long the
// longest is).
std::vector<TokenText> user_texts(const std::string& path, const model::Vocab& vocab, const TextWish& wish);

}  // namespace fastcache::eval
