// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_serving.h"

namespace fastcache::cli {
namespace {

void add_load_options(CLI::App& command, CLI::Option* requests, bench::ServingLoad& load) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help)->capture_default_str()->needs(requests);
  };
  add("--rate", load.rate_per_s, "requests that arrive per second, 0 or inf = all at once");
  add("--burstiness", load.burstiness, "shape of the gamma-distributed gaps between arrivals, 1 = Poisson");
  add("--prompt-tokens", load.prompt_tokens, "length of each random prompt, in tokens");
  add("--shared-prefix-tokens", load.shared_prefix_tokens, "of them, tokens that all prompts begin with");
  add("--seed", load.seed, "of prompts and arrivals")->check(CLI::NonNegativeNumber);
}

void add_compression_options(CLI::App& command, CLI::Option* requests, Compression& compression) {
  CLI::Option* press =
      command
          .add_option("--press", compression.press,
                      "compress each prompt's KV: a name that `fastcache presses` lists, or a text such as "
                      "adakv(keydiff(ratio=0.6))")
          ->capture_default_str()
          ->needs(requests);
  CLI::Option* ratio =
      command.add_option("--ratio", compression.ratio, "share of the KV rows that the press removes, 0 to 1")
          ->needs(press);
  command
      .add_option("--budget", compression.budget, "instead of --ratio: rows kept in each layer and KV head")
      ->needs(press)
      ->excludes(ratio);
}

}  // namespace

CLI::Option* add_serving_options(CLI::App& command, bench::ServingOptions& options) {
  CLI::Option* requests =
      command.add_option("--requests", options.load.requests,
                         "serving benchmark instead: so many requests to the engine, 1 to 4096 [none]");
  add_load_options(command, requests, options.load);
  command.add_option("--generate-tokens", options.generate_tokens, "length of each answer, in tokens")
      ->capture_default_str()
      ->needs(requests);
  add_compression_options(command, requests, options.compression);
  command.add_option("--policy", options.engine.policy, "of the scheduler: dynamic or fcfs")
      ->capture_default_str()
      ->needs(requests);
  command.add_option("--max-running", options.engine.max_running, "answers that decode together, at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16))
      ->needs(requests);
  command
      .add_flag_callback(
          "--no-prefix-cache", [&options] { options.engine.prefix_cache = false; },
          "every request computes its whole prompt")
      ->needs(requests);
  return requests;
}

}  // namespace fastcache::cli
