// SPDX-License-Identifier: Apache-2.0
#include "server/http_metrics.h"

#include "server/prometheus.h"

namespace fastcache::server {

std::string http_metrics_text(const HttpCounters& counters) {
  constexpr const char* kClasses[] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
  const auto count = [](uint64_t n) { return static_cast<double>(n); };
  PrometheusText out("fastcache:", {});
  out.gauge("http_connections", "Open connections.", counters.connections_open);
  out.counter("http_connections_accepted_total", "Connections since the start.",
              count(counters.connections_accepted));
  out.counter("http_connections_refused_total", "Connections over the cap.",
              count(counters.connections_refused));
  out.family("http_responses_total", "counter", "Answers by class of their status.");
  for (size_t i = 1; i < counters.responses_by_class.size(); ++i)
    out.sample(count(counters.responses_by_class[i]), {{"class", kClasses[i]}});
  out.family("http_errors_total", "counter", "Error objects that were sent, by their code.");
  for (const auto& [code, n] : counters.errors) out.sample(count(n), {{"code", code}});
  out.counter("http_clients_gone_total", "Clients that left before their answer ended.",
              count(counters.clients_gone));
  out.counter("http_received_bytes_total", "Bytes of requests.", count(counters.bytes_received));
  out.counter("http_sent_bytes_total", "Bytes of answers.", count(counters.bytes_sent));
  return out.take();
}

}  // namespace fastcache::server
