// SPDX-License-Identifier: Apache-2.0
// The figures that all serving benchmarks share, as lines of a table and as members of JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "bench/load_figures.h"

namespace fastcache::cli {

void add_figures(nlohmann::json& json, const bench::LoadFigures& figures);

void add_latency(nlohmann::json& json, const std::string& name, const bench::Latency& latency);

void print_line(const char* what, const std::string& value);
void print_latency(const char* what, const bench::Latency& latency);  // nothing where it is NaN
// Duration, tokens, throughput, latencies; goodput where there is a limit.
void print_figures(const bench::LoadFigures& figures, const bench::Goodput& goodput = {});

}  // namespace fastcache::cli
