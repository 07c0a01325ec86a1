// SPDX-License-Identifier: Apache-2.0
#include "engine/testing/random_schedule.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include <algorithm>
#include <random>

namespace fastcache::engine::test_support {
namespace {

using Random = std::mt19937_64;

int between(Random& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

struct Submitted {
  Request request;
  bool cancelled = false;
};

struct Schedule {
  LoopModel& model;
  const ScheduleSizes& sizes;
  Random random;
  kv::AllocationFaults& faults;
  bool with_faults = false;
  LoopDriver driver;
  std::vector<Submitted> submitted;
};

// Prompts share beginnings, so that the prefix cache has something to find.
std::vector<int32_t> random_prompt(Random& random, int most_own_tokens) {
  std::vector<int32_t> prompt;
  const int family = between(random, 0, 2), n_shared = between(random, 0, 3) * 16;
  for (int i = 0; i < n_shared; ++i) prompt.push_back(3 + (family * 77 + i * 13) % 300);
  const int n_own = between(random, 1, most_own_tokens);
  for (int i = 0; i < n_own; ++i) prompt.push_back(between(random, 3, 319));
  return prompt;
}

// Fewer bits than the cache's own, some layers with others than the rest, or fewer rows first.
std::string random_format(Random& random, kv::KvType kv_type) {
  const int most = kv::element_bits(kv_type) > 8 ? 2 : 1;
  const auto bits = [&] { return 2 << between(random, 0, most); };
  const int residual = between(random, 0, 1) * between(random, 0, 40);
  switch (between(random, 0, 3)) {
    case 0:
      return fmt::format("quantized(layer_bits=[{}, {}], residual={})", bits(),
                         between(random, 0, 1) == 0 ? 16 : bits(), residual);
    case 1:
      return fmt::format("composed(snapkv(ratio=0.{}, window={}), quantized(bits={}, residual={}))",
                         between(random, 1, 9), between(random, 1, 40), bits(), residual);
    default:
      return fmt::format("quantized(bits={}, residual={})", bits(), residual);
  }
}

Request random_request(Random& random, const ScheduleSizes& sizes) {
  Request request;
  request.tokens = random_prompt(random, sizes.most_own_tokens);
  request.max_tokens = between(random, 1, sizes.most_new_tokens);
  request.n = between(random, 0, 3) == 0 ? between(random, 2, sizes.most_answers) : 1;
  request.priority = between(random, 0, 5) == 0 ? between(random, -2, 2) : 0;
  request.sampling.ignore_eos = between(random, 0, 1) == 0;
  if (between(random, 0, 3) == 0) {  // ends early, some of its answers with the first token
    request.sampling.ignore_eos = false;
    request.sampling.logit_bias = {{2, static_cast<float>(between(random, 0, 6))}};
  }
  if (sizes.deadlines && between(random, 0, 4) == 0) request.deadline_ms = between(random, 1, 150);
  if (between(random, 0, 2) == 0) {
    request.sampling.temperature = 0.8f;
    request.sampling.seed = static_cast<uint64_t>(between(random, 0, 1000));
  }
  if (between(random, 0, 7) == 0) {
    request.compression.press = random_format(random, sizes.kv_type);
  } else if (between(random, 0, 2) == 0) {
    const std::vector<std::string> presses{"knorm",
                                           "streaming_llm",
                                           "random",
                                           "test_uneven",
                                           "snapkv",
                                           "pyramidkv",
                                           "tova",
                                           "expected_attention",
                                           "observed_attention",
                                           "criticalkv(random)",
                                           "decoding(knorm)",
                                           "decoding(adakv(random))",
                                           "decoding(snapkv)",
                                           "test_merging",
                                           "test_second_pass",
                                           "decoding(test_merging)"};
    const size_t press = static_cast<size_t>(between(random, 0, static_cast<int>(presses.size()) - 1));
    request.compression.press = presses[press];
    if (presses[press].starts_with("decoding")) {
      request.compression.budget = between(random, 1, 60);
      request.compression.parameters["every"] = between(random, 1, 20);
    } else {
      request.compression.ratio = between(random, 1, 9) / 10.0;
    }
    if (press == 4 || press == 5) request.compression.parameters["window"] = between(random, 1, 40);
    if (presses[press] == "test_second_pass") request.compression.parameters["part"] = between(random, 5, 60);
  }
  return request;
}

// Sometimes the next turn of an answer that is there. Uncompressed: compressed rows of an earlier turn are
// meant to change what comes (step_loop_compress_test.cc).
Request next_request(Schedule& s) {
  Request request = random_request(s.random, s.sizes);
  if (s.submitted.empty() || between(s.random, 0, 3) != 0) return request;
  const int earlier = between(s.random, 0, static_cast<int>(s.submitted.size()) - 1);
  const std::vector<int32_t>& answer = s.driver.collect(earlier).answers[0].tokens;
  std::vector<int32_t> prompt = s.submitted[static_cast<size_t>(earlier)].request.tokens;
  prompt.insert(prompt.end(), answer.begin(), answer.end());
  prompt.push_back(between(s.random, 3, 319));
  if (static_cast<int>(prompt.size()) > 48 + s.sizes.most_own_tokens) return request;
  request.tokens = prompt;
  request.compression = {};
  return request;
}

void run(Schedule& s) {
  const int n_requests = between(s.random, 2, s.sizes.most_requests);
  for (int i = 0; static_cast<int>(s.submitted.size()) < n_requests || s.driver.loop().has_work(); ++i) {
    if (i == 200'000) throw Error{Code::internal, "the loop does not come to its end"};
    if (static_cast<int>(s.submitted.size()) < n_requests && between(s.random, 0, 3) == 0) {
      const Request request = next_request(s);
      s.submitted.push_back({.request = request});
      s.driver.submit(request);
    }
    if (!s.submitted.empty() && between(s.random, 0, 200) == 0) {
      const int victim = between(s.random, 0, static_cast<int>(s.submitted.size()) - 1);
      s.driver.cancel(victim);
      s.submitted[static_cast<size_t>(victim)].cancelled = true;
    }
    if (s.with_faults && between(s.random, 0, 7) == 0) s.faults.fail_after(between(s.random, 0, 5));
    s.driver.step();
    s.driver.loop().check();
  }
}

std::string compare(const Submitted& what, const Collected& here, const Collected& alone,
                    ScheduleCounts& counts) {
  if (!here.ended || !here.error.empty()) return fmt::format("ended {}, {}", here.ended, here.error);
  counts.preemptions += here.summary.preemptions;
  counts.cached_tokens += here.summary.cached_tokens;
  counts.compressions += here.summary.rows_after_compression < here.summary.rows_before_compression;
  counts.decode_compressions += here.summary.compressions > 1;
  counts.quantizations +=
      what.request.compression.press.find("quantized") != std::string::npos && here.summary.freed_bytes > 0;
  for (size_t a = 0; a < here.answers.size(); ++a) {
    const CollectedAnswer &answer = here.answers[a], &right = alone.answers[a];
    counts.forks += a > 0 && answer.tokens.size() > 1;
    if (!answer.finished) return fmt::format("answer {} did not finish", a);
    const bool cut = answer.finish == Finish::cancelled || answer.finish == Finish::deadline;
    if (answer.finish == Finish::cancelled && !what.cancelled) return "cancelled by nobody";
    counts.cancelled += answer.finish == Finish::cancelled;
    counts.deadlines += answer.finish == Finish::deadline;
    std::vector<int32_t> expected = right.tokens;
    if (cut) expected.resize(std::min(expected.size(), answer.tokens.size()));
    if (answer.tokens != expected)
      return fmt::format("answer {} of {}: {}, alone {}", a, here.answers.size(), answer.tokens,
                         right.tokens);
    if (!cut && answer.text != right.text) return fmt::format("answer {}: another text", a);
    if (!cut && answer.finish != right.finish) return fmt::format("answer {}: another end", a);
  }
  return {};
}

}  // namespace

std::string run_random_schedule(LoopModel& model, uint64_t seed, const ScheduleSizes& sizes,
                                ScheduleCounts& counts) {
  Random random(seed);
  kv::AllocationFaults faults;
  DriverOptions options{.pool_bytes = LoopModel::pool_for(
                            between(random, sizes.least_pool_tokens, sizes.most_pool_tokens), sizes.kv_type),
                        .kv_type = sizes.kv_type,
                        .reserve_pages = LoopModel::kReservePages,
                        .loop = {},
                        .faults = &faults};
  options.loop.step_tokens = between(random, 2, 64);
  options.loop.max_running = between(random, sizes.most_answers, 12);
  options.loop.policy = between(random, 0, 1) == 0 ? "fcfs" : "dynamic";
  options.loop.prefix_cache = between(random, 0, 3) != 0;
  Schedule s{.model = model,
             .sizes = sizes,
             .random = random,
             .faults = faults,
             .with_faults = between(random, 0, 3) == 0,
             .driver = LoopDriver(model.model, model.compute, options),
             .submitted = {}};
  try {
    run(s);
  } catch (const Error& error) {
    return error.what();
  }
  for (size_t i = 0; i < s.submitted.size(); ++i) {
    Request request = s.submitted[i].request;
    request.deadline_ms = kNoDeadline;
    const Collected& here = s.driver.collect(static_cast<int>(i));
    const Collected alone = run_alone(model.model, model.compute, request, sizes.kv_type);
    if (const std::string wrong = compare(s.submitted[i], here, alone, counts); !wrong.empty()) {
      return fmt::format("request {} ({} tokens, {}, {} preemptions, {} cached): {}", i,
                         request.tokens.size(), request.compression.press, here.summary.preemptions,
                         here.summary.cached_tokens, wrong);
    }
  }
  s.driver.loop().prefix_cache().clear();
  const kv::PagePool& pool = s.driver.pool();
  return pool.free_pages() == pool.n_pages() ? "" : "pages are left";
}

}  // namespace fastcache::engine::test_support
