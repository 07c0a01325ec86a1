// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.h"

#include <gtest/gtest.h>

#include <random>

#include "base/test_seed.h"
#include "server/http_metrics.h"
#include "server/testing/prometheus_reader.h"

namespace fastcache::server {
namespace {

using test_support::MetricFamilies;
using test_support::read_prometheus;
using test_support::value_of;

Summary random_summary(std::mt19937_64& chance) {
  const auto upto = [&](int most) { return static_cast<int>(chance() % static_cast<uint64_t>(most)); };
  Summary summary{
      .prompt_tokens = upto(100'000), .generated_tokens = upto(5000), .queue_ms = 1.0 * upto(1000)};
  summary.prefill_ms = upto(100'000);
  summary.ttft_ms = summary.queue_ms + summary.prefill_ms;
  summary.decode_ms = 1e-4 * upto(10'000'000);
  if (upto(2) == 0) {
    summary.rows_before_compression = static_cast<size_t>(1 + upto(1000));
    summary.rows_after_compression = summary.rows_before_compression / 2;
    summary.compress_ms = upto(100);
  }
  return summary;
}

// Nothing that is counted ever falls.
void expect_not_fallen(const MetricFamilies& before, const MetricFamilies& after) {
  for (const auto& [name, family] : before) {
    if (family.type == "gauge") continue;
    for (const auto& [sample, value] : family.samples)
      EXPECT_GE(after.at(name).samples.at(sample), value) << sample;
  }
}

TEST(Metrics, WhateverHappensTheTextKeepsTheRules) {
  std::mt19937_64 chance(test_seed());
  Metrics metrics("a \"model\"\\with\nodd \xc3\xa4 name");
  MetricFamilies before = read_prometheus(metrics.text({}, {}));
  for (int round = 0; round < 30; ++round) {
    for (uint64_t i = 0; i < chance() % 20; ++i) {
      metrics.request_ended(random_summary(chance), 1e-3 * static_cast<double>(chance() % 100'000'000),
                            chance() % 2 == 0 ? "knorm" : "odd\"press");
      metrics.answer_ended(chance() % 2 == 0 ? "stop" : "length");
      metrics.tokens_arrived(static_cast<double>(chance() % 500), static_cast<int>(chance() % 5));
      if (chance() % 8 == 0) metrics.error("bad_request");
    }
    const MetricFamilies after = read_prometheus(metrics.text({}, {}));
    expect_not_fallen(before, after);
    before = after;
  }
}

TEST(Metrics, FiguresStandWhereDashboardsLook) {
  Metrics metrics("m");
  const EngineStats stats{.pool_bytes = 1000,
                          .free_bytes = 400,
                          .prefix_cached_bytes = 100,
                          .waiting = 3,
                          .running = 5,
                          .preemptions = 7,
                          .prompt_tokens = 100,
                          .cached_tokens = 60,
                          .generated_tokens = 50,
                          .encoding = 2,
                          .mm_cache_queries = 9,
                          .mm_cache_hits = 6,
                          .mm_cache_bytes = 512,
                          .pictures_encoded = 3};
  RequestFigures figures;
  figures.rows_held = 20;
  figures.rows_uncompressed = 90;
  metrics.request_ended({.prompt_tokens = 100,
                         .generated_tokens = 10,
                         .compress_ms = 500,
                         .ttft_ms = 70,
                         .rows_before_compression = 400,
                         .rows_after_compression = 100,
                         .freed_bytes = 4096},
                        1000, "knorm");
  metrics.answer_ended("stop");
  metrics.tokens_arrived(22, 9);
  const MetricFamilies all = read_prometheus(metrics.text(stats, {figures, figures}));
  const auto value = [&](const std::string& name, const std::string& labels = "") {
    const std::string family = "fastcache:" + name;
    return value_of(all, family, family + "{" + labels + (labels.empty() ? "" : ",") + "model_name=\"m\"}");
  };
  EXPECT_EQ(value("num_requests_running"), 5);
  EXPECT_EQ(value("num_requests_waiting"), 3);
  EXPECT_EQ(value("kv_cache_usage_perc"), 0.5);
  EXPECT_EQ(value("prompt_tokens_total"), 100);
  EXPECT_EQ(value("generation_tokens_total"), 50);
  EXPECT_EQ(value("prefix_cache_queries_total"), 100);
  EXPECT_EQ(value("prefix_cache_hits_total"), 60);
  EXPECT_EQ(value_of(all, "fastcache:num_requests_stage",
                     "fastcache:num_requests_stage{model_name=\"m\",stage=\"encode\"}"),
            2);
  EXPECT_EQ(value("mm_cache_queries_total"), 9);
  EXPECT_EQ(value("mm_cache_hits_total"), 6);
  EXPECT_EQ(value("mm_encoded_total"), 3);
  EXPECT_EQ(value("mm_cache_bytes"), 512);
  EXPECT_EQ(value("num_preemptions_total"), 7);
  EXPECT_EQ(value("request_success_total", "finished_reason=\"stop\""), 1);
  EXPECT_EQ(value("kv_resident_rows"), 40);
  EXPECT_EQ(value("kv_logical_rows"), 180);
  const auto of_knorm = [&](const std::string& name) {
    const std::string family = "fastcache:" + name;
    return value_of(all, family, family + "{model_name=\"m\",press=\"knorm\"}");
  };
  EXPECT_EQ(of_knorm("compression_rows_evicted_total"), 300);
  EXPECT_EQ(of_knorm("compression_freed_bytes_total"), 4096);
  EXPECT_EQ(of_knorm("compression_seconds_total"), 0.5);
  const auto histogram = [&](const std::string& name, const std::string& sample) {
    return value_of(all, "fastcache:" + name, "fastcache:" + name + sample);
  };
  EXPECT_EQ(histogram("time_to_first_token_seconds", "_sum{model_name=\"m\"}"), 0.07);
  EXPECT_EQ(histogram("time_to_first_token_seconds", "_bucket{le=\"0.06\",model_name=\"m\"}"), 0);
  EXPECT_EQ(histogram("time_to_first_token_seconds", "_bucket{le=\"0.08\",model_name=\"m\"}"), 1);
  EXPECT_EQ(histogram("inter_token_latency_seconds", "_count{model_name=\"m\"}"), 9);
  EXPECT_EQ(histogram("inter_token_latency_seconds", "_bucket{le=\"0.025\",model_name=\"m\"}"), 9);
  EXPECT_EQ(histogram("e2e_request_latency_seconds", "_sum{model_name=\"m\"}"), 1);
}

TEST(Metrics, TheHttpServersFamiliesAreAppended) {
  HttpCounters counters;
  counters.connections_open = 4;
  counters.responses_by_class[2] = 7;
  const MetricFamilies all = read_prometheus(Metrics("m").text({}, {}, http_metrics_text(counters)));
  EXPECT_EQ(value_of(all, "fastcache:http_connections", "fastcache:http_connections{}"), 4);
  EXPECT_EQ(value_of(all, "fastcache:http_responses_total", "fastcache:http_responses_total{class=\"2xx\"}"),
            7);
}

TEST(PrometheusReader, SeesWhatIsWrong) {
  const char* bad[] = {
      "a 1",
      "a 1\n",
      "# HELP a b\n# TYPE a gauge\nb 1\n",
      "# HELP a b\n# TYPE a gauge\na 1\na 1\n",
      "# HELP a_total b\n# TYPE a_total counter\na_total -1\n",
      "# HELP a b\n# TYPE a gauge\na{x=\"\\q\"} 1\n",
      "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
      "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n",
  };
  for (const char* text : bad) EXPECT_ANY_THROW(read_prometheus(text)) << text;
}

}  // namespace
}  // namespace fastcache::server
