// SPDX-License-Identifier: Apache-2.0
#include "eval/manual_page.h"

#include <algorithm>
#include <array>
#include <utility>

namespace fastcache::eval {
namespace {

// Requests of the man and mdoc packages whose arguments are words of the text.
constexpr std::array<std::string_view, 44> kWordRequests{
    "TH", "SH", "SS", "B",  "I",  "R",  "BR", "RB", "BI", "IB", "RI", "IR", "SM", "SB", "IP",
    "Sh", "Ss", "Nm", "Nd", "Dt", "Fl", "Ar", "Op", "Pa", "Xr", "Dl", "It", "Em", "Li", "Cm",
    "Sy", "Ql", "Dq", "Sq", "Ev", "Va", "Fn", "Fa", "Vt", "Er", "In", "Dv", "Ic", "Cd"};
// Of these the arguments are printed without blanks between them.
constexpr std::array<std::string_view, 6> kJoined{"BR", "RB", "BI", "IB", "RI", "IR"};

constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kCharacters{{{"aq", "'"},
                                                                                     {"dq", "\""},
                                                                                     {"lq", "\""},
                                                                                     {"rq", "\""},
                                                                                     {"oq", "'"},
                                                                                     {"cq", "'"},
                                                                                     {"bu", "*"},
                                                                                     {"em", "-"},
                                                                                     {"en", "-"},
                                                                                     {"hy", "-"},
                                                                                     {"co", "(C)"},
                                                                                     {"rs", "\\"},
                                                                                     {"ti", "~"},
                                                                                     {"ha", "^"}}};

template <size_t n>
bool contains(const std::array<std::string_view, n>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string_view character(std::string_view name) {
  for (const auto& [known, text] : kCharacters)
    if (known == name) return text;
  return "";
}

// The name behind an escape such as \f or \*: one character, two after a bracket, or any number in brackets.
std::string_view take_name(std::string_view& rest) {
  size_t skip = 0, n = std::min<size_t>(1, rest.size());
  if (rest.starts_with('(')) {
    skip = 1;
    n = std::min<size_t>(2, rest.size() - 1);
  } else if (rest.starts_with('[')) {
    skip = 1;
    n = std::min(rest.find(']'), rest.size()) - 1;
  }
  const std::string_view name = rest.substr(skip, n);
  const bool closed = skip == 1 && rest[0] == '[';
  rest.remove_prefix(std::min(rest.size(), skip + n + (closed ? 1 : 0)));
  return name;
}

// rest: behind the backslash. False: a comment, which ends the line.
bool take_escape(std::string_view& rest, std::string& out) {
  if (rest.empty()) return true;
  const char kind = rest[0];
  if (kind == '"' || kind == '#') return false;
  if (kind == '(' || kind == '[') {
    out += character(take_name(rest));
    return true;
  }
  rest.remove_prefix(1);
  if (kind == 'e' || kind == '\\') {
    out += '\\';
  } else if (kind == '-' || kind == '.' || kind == '\'' || kind == '`') {
    out += kind;
  } else if (kind == ' ' || kind == '~' || kind == '0') {
    out += ' ';
  } else if (kind == 'f' || kind == '*' || kind == 'n' || kind == 'm') {
    take_name(rest);
  } else if (kind == 's') {  // a size: \s-1, \s+2, \s0
    if (rest.starts_with('+') || rest.starts_with('-')) rest.remove_prefix(1);
    while (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') rest.remove_prefix(1);
  }
  return true;
}

std::string without_escapes(std::string_view line) {
  std::string out;
  while (!line.empty()) {
    const size_t n = std::min(line.find('\\'), line.size());
    out.append(line.substr(0, n));
    line.remove_prefix(n);
    if (line.empty()) break;
    line.remove_prefix(1);
    if (!take_escape(line, out)) break;
  }
  return out;
}

// A request's arguments: quotes hold blanks together.
std::string arguments(std::string_view line, std::string_view between) {
  std::string out;
  bool quoted = false, pending = false;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == ' ' || c == '\t')) {
      pending = !out.empty();
    } else {
      if (pending) out += between;
      pending = false;
      out += c;
    }
  }
  return out;
}

std::string request_text(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t", 1), line.size()));
  const std::string_view name = line.substr(0, std::min(line.find_first_of(" \t"), line.size()));
  if (!contains(kWordRequests, name)) return {};
  return without_escapes(arguments(line.substr(name.size()), contains(kJoined, name) ? "" : " "));
}

}  // namespace

std::string plain_manual(std::string_view roff) {
  std::string out;
  bool in_definition = false;  // .de name ... ..
  while (!roff.empty()) {
    const size_t n = std::min(roff.find('\n'), roff.size());
    const std::string_view line = roff.substr(0, n);
    roff.remove_prefix(std::min(n + 1, roff.size()));
    if (in_definition) {
      in_definition = !line.starts_with("..");
    } else if (line.starts_with(".de ") || line.starts_with(".ig")) {
      in_definition = true;
    } else if (line.starts_with('.') || line.starts_with('\'')) {
      const std::string text = request_text(line);
      if (line.starts_with(".SH") || line.starts_with(".Sh")) out += '\n';
      if (!text.empty()) out += text + '\n';
      if (line.starts_with(".PP") || line.starts_with(".TP") || line.starts_with(".Pp")) out += '\n';
    } else {
      out += without_escapes(line) + '\n';
    }
  }
  return out;
}

}  // namespace fastcache::eval
