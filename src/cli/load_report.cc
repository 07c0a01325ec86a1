// SPDX-License-Identifier: Apache-2.0
#include "cli/load_report.h"

#include <cmath>
#include <cstdio>

#include "base/log.h"

namespace fastcache::cli {
void add_latency(nlohmann::json& json, const std::string& name, const bench::Latency& latency) {
  json["mean_" + name + "_ms"] = latency.mean_ms;
  json["median_" + name + "_ms"] = latency.median_ms;
  json["std_" + name + "_ms"] = latency.std_ms;
  json["p99_" + name + "_ms"] = latency.p99_ms;
}

void print_latency(const char* what, const bench::Latency& latency) {
  if (std::isnan(latency.mean_ms)) return;
  print_line(what, fmt::format("mean {:10.1f}   median {:10.1f}   p99 {:10.1f}", latency.mean_ms,
                               latency.median_ms, latency.p99_ms));
}

void add_figures(nlohmann::json& json, const bench::LoadFigures& figures) {
  json["duration"] = figures.duration_s;
  json["completed"] = figures.completed;
  json["failed"] = figures.failed;
  json["total_input_tokens"] = figures.total_input_tokens;
  json["total_output_tokens"] = figures.total_output_tokens;
  json["request_throughput"] = figures.request_throughput;
  json["request_goodput"] = figures.request_goodput;
  json["output_throughput"] = figures.output_throughput;
  json["total_token_throughput"] = figures.total_token_throughput;
  add_latency(json, "ttft", figures.ttft);
  add_latency(json, "tpot", figures.tpot);
  add_latency(json, "itl", figures.itl);
  add_latency(json, "e2el", figures.e2el);
}

void print_line(const char* what, const std::string& value) {
  std::printf("%-34s %s\n", what, value.c_str());
}

void print_figures(const bench::LoadFigures& figures, const bench::Goodput& goodput) {
  print_line("duration", fmt::format("{:.2f} s", figures.duration_s));
  print_line("tokens in, out",
             fmt::format("{}, {}", figures.total_input_tokens, figures.total_output_tokens));
  print_line("throughput", fmt::format("{:.2f} requests/s, {:.1f} output tok/s, {:.1f} tok/s in all",
                                       figures.request_throughput, figures.output_throughput,
                                       figures.total_token_throughput));
  if (goodput.is_asked_for())
    print_line("goodput", fmt::format("{:.2f} requests/s", figures.request_goodput));
  print_latency("TTFT ms (from planned arrival)", figures.ttft);
  print_latency("TPOT ms (without first token)", figures.tpot);
  print_latency("ITL ms", figures.itl);
  print_latency("E2EL ms", figures.e2el);
}

}  // namespace fastcache::cli
