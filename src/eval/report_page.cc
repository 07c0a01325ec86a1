// SPDX-License-Identifier: Apache-2.0
#include "eval/report_page.h"

#include <algorithm>

#include "eval/report_files.h"

namespace fastcache::eval {
namespace {

std::string_view file(std::string_view name) {
  const auto files = web_files();
  return std::find_if(files.begin(), files.end(), [&](const WebFile& f) { return f.name == name; })->bytes;
}

// Nothing in a script may look like its end.
std::string inside_script(std::string_view text) {
  constexpr std::string_view kEnd = "</script";
  std::string out{text};
  for (size_t at = out.find(kEnd); at != std::string::npos; at = out.find(kEnd, at))
    out.insert(at + 1, 1, '\\');
  return out;
}

// JSON that stands in a script: only strings have this character.
std::string without_tags(std::string_view json) {
  std::string out;
  for (const char c : json) {
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  }
  return out;
}

void fill(std::string& page, std::string_view mark, std::string_view text) {
  page.replace(page.find(mark), mark.size(), text);
}

}  // namespace

std::string make_page(const std::string& name, const nlohmann::json& data, const std::string& chart_js) {
  using nlohmann::json;
  const std::string text = data.dump(-1, ' ', true, json::error_handler_t::replace);
  const std::string script = std::string(file("curves.js")) + std::string(file(name + ".js"));
  std::string page{file(name + ".html")};
  // From the end to the beginning: what is filled in is never searched.
  fill(page, "/*script*/", inside_script(script));
  fill(page, "/*chart.js*/", inside_script(chart_js));
  fill(page, "/*data*/", without_tags(text));
  fill(page, "/*style*/", file("report.css"));
  return page;
}

}  // namespace fastcache::eval
