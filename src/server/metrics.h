// SPDX-License-Identifier: Apache-2.0
// What an operator watches, in Prometheus' text format. Names are vLLM's behind a prefix of our own, so that
// dashboards need one replacement; ours stand beside them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "fastcache/engine.h"
#include "server/prometheus.h"

namespace fastcache::server {

// Owner: the server's thread.
class Metrics {
 public:
  explicit Metrics(std::string model_name);

  // A request to the engine that ended; its answers by reason: stop, length, tool_calls, abort, deadline,
  // error.
  void request_ended(const Summary& summary, double e2e_ms, std::string_view press);
  void answer_ended(std::string_view reason) { ++finished_[std::string{reason}]; }
  void tokens_arrived(double ms_each, int n_tokens);  // behind the first of their answer
  void error(std::string_view code) { ++errors_[std::string{code}]; }

  // more: whole families of others (the HTTP server's).
  std::string text(const EngineStats& stats, const std::vector<RequestFigures>& requests,
                   std::string_view more = {}) const;

 private:
  struct PressTotals {
    int64_t requests = 0;
    double rows_before = 0, rows_after = 0, freed_bytes = 0, seconds = 0;
  };
  void write_requests(PrometheusText& out, const EngineStats& stats) const;
  void write_memory(PrometheusText& out, const EngineStats& stats,
                    const std::vector<RequestFigures>& requests) const;
  void write_presses(PrometheusText& out) const;
  void write_histograms(PrometheusText& out) const;

  std::string model_name_;
  std::map<std::string, int64_t> finished_, errors_;
  std::map<std::string, PressTotals> presses_;
  Histogram ttft_, inter_token_, e2e_, queue_, prefill_, compress_, decode_;  // seconds
  Histogram prompt_tokens_, generated_tokens_;
};

}  // namespace fastcache::server
