// SPDX-License-Identifier: Apache-2.0
#include "eval/report_html.h"

#include <array>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/log.h"
#include "eval/report_json.h"
#include "eval/report_page.h"

namespace fastcache::eval {
namespace {

// Debian's libjs-chart.js, Fedora, Node packages of the system.
constexpr std::array kChartJsPaths{
    "/usr/share/javascript/chart.js/chart.min.js", "/usr/share/javascript/chart.js/chart.umd.js",
    "/usr/share/nodejs/chart.js/dist/chart.min.js", "/usr/lib/node_modules/chart.js/dist/chart.umd.js"};

std::string read_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
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
  return make_page("report", report_json(result), chart_js);
}

}  // namespace fastcache::eval
