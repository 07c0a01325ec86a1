// SPDX-License-Identifier: Apache-2.0
// Rows of cells, written for a terminal or as Markdown. Pure functions.
#pragma once

#include <string>
#include <vector>

namespace fastcache::eval {

struct Table {
  std::vector<std::string> head{};
  std::vector<std::vector<std::string>> rows{};  // each as many cells as head
};

struct Section {
  std::string title{};
  std::vector<std::string> notes{};  // sentences above the table
  Table table{};                     // may be empty
};

// Columns aligned: the first to the left, all others to the right.
std::string as_text(const std::vector<Section>& sections);
std::string as_markdown(const std::vector<Section>& sections);

}  // namespace fastcache::eval
