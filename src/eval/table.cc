// SPDX-License-Identifier: Apache-2.0
#include "eval/table.h"

#include <algorithm>

#include "base/log.h"

namespace fastcache::eval {
namespace {

std::string text_row(const std::vector<std::string>& cells, const std::vector<size_t>& widths) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i)
    line +=
        i == 0 ? fmt::format("{:<{}}", cells[i], widths[i]) : fmt::format("  {:>{}}", cells[i], widths[i]);
  return line + '\n';
}

std::string text_table(const Table& table) {
  std::vector<size_t> widths;
  for (size_t i = 0; i < table.head.size(); ++i) {
    widths.push_back(table.head[i].size());
    for (const auto& row : table.rows) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text = text_row(table.head, widths);
  for (const auto& row : table.rows) text += text_row(row, widths);
  return text;
}

// A bar in a cell would end it.
std::string markdown_row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) {
    line += ' ';
    for (const char c : cell) line += c == '|' ? std::string("\\|") : std::string(1, c);
    line += " |";
  }
  return line + '\n';
}

std::string markdown_table(const Table& table) {
  std::string text = markdown_row(table.head);
  for (size_t i = 0; i < table.head.size(); ++i) text += i == 0 ? "|---" : "|---:";
  text += "|\n";
  for (const auto& row : table.rows) text += markdown_row(row);
  return text;
}

}  // namespace

std::string as_text(const std::vector<Section>& sections) {
  std::string text;
  for (const Section& section : sections) {
    if (!text.empty()) text += '\n';
    text += section.title + '\n';
    for (const std::string& note : section.notes) text += "  " + note + '\n';
    if (!section.table.rows.empty()) text += text_table(section.table);
  }
  return text;
}

std::string as_markdown(const std::vector<Section>& sections) {
  std::string text;
  for (const Section& section : sections) {
    if (!text.empty()) text += '\n';
    text += "### " + section.title + "\n\n";
    for (const std::string& note : section.notes) text += note + "\n\n";
    if (!section.table.rows.empty()) text += markdown_table(section.table);
  }
  return text;
}

}  // namespace fastcache::eval
