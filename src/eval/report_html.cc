// SPDX-License-Identifier: Apache-2.0
#include "eval/report_html.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/log.h"
#include "eval/report_files.h"
#include "eval/report_json.h"

namespace fastcache::eval {
namespace {

// Debian's libjs-chart.js, Fedora, Node packages of the system.
constexpr std::array kChartJsPaths{
    "/usr/share/javascript/chart.js/chart.min.js", "/usr/share/javascript/chart.js/chart.umd.js",
    "/usr/share/nodejs/chart.js/dist/chart.min.js", "/usr/lib/node_modules/chart.js/dist/chart.umd.js"};

std::string_view file(std::string_view name) {
  const auto files = web_files();
  return std::find_if(files.begin(), files.end(), [&](const WebFile& f) { return f.name == name; })->bytes;
}

std::string read_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
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

std::string read_chart_js(const std::string& path) {
  if (!path.empty()) {
    const std::string text = read_file(path);
    if (text.empty())
      throw Error{Code::not_found, fmt::format("--chart-js {}: there is no such file, or it is empty", path)};
    return text;
  }
  for (const char* known : kChartJsPaths)
    if (const std::string text = read_file(known); !text.empty()) return text;
  return {};
}

std::string report_html(const EvalResult& result, const std::string& chart_js) {
  using nlohmann::json;
  const std::string data = report_json(result).dump(-1, ' ', true, json::error_handler_t::replace);
  std::string page{file("report.html")};
  // From the end to the beginning: what is filled in is never searched.
  fill(page, "/*script*/", inside_script(file("report.js")));
  fill(page, "/*chart.js*/", inside_script(chart_js));
  fill(page, "/*data*/", without_tags(data));
  fill(page, "/*style*/", file("report.css"));
  return page;
}

}  // namespace fastcache::eval
