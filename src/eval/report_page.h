// SPDX-License-Identifier: Apache-2.0
// A page that opens without a network: a template of report/ with its data and scripts in it. Thread-safe.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace fastcache::eval {

// name: of <name>.html and <name>.js. Nothing in the data can end the script that it stands in; what the page
// shows of it, it shows as text. chart_js: as report_html() takes it.
std::string make_page(const std::string& name, const nlohmann::json& data, const std::string& chart_js);

}  // namespace fastcache::eval
