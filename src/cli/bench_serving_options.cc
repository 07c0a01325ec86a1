// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "base/error.h"
#include "base/log.h"
#include "cli/bench_serving.h"

namespace fastcache::cli {
namespace {

constexpr std::array kLoadOptions{
    "--rate", "--burstiness", "--prompt-tokens", "--generate-tokens", "--shared-prefix-tokens", "--seed"};
constexpr std::array kEngineOptions{"--press",      "--ratio",       "--budget",         "--policy",
                                    "--itl-target", "--max-running", "--no-prefix-cache"};
// Of the program's own model and engine, which a server has by itself.
constexpr std::array kLocalOptions{"--threads", "--pool", "--kv-type", "--chunk", "--repeat"};
constexpr std::array kKernelOptions{"--prefill", "--decode-depth", "--batch", "--decode-tokens",
                                    "--profile", "--kernels",      "--lora"};

void add_load_options(CLI::App& command, bench::ServingLoad& load) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help)->capture_default_str();
  };
  add("--rate,--request-rate", load.rate_per_s, "requests that arrive per second, 0 or inf = all at once");
  add("--burstiness", load.burstiness, "shape of the gamma-distributed gaps between arrivals, 1 = Poisson");
  add("--prompt-tokens", load.prompt_tokens, "length of each random prompt, in tokens");
  add("--shared-prefix-tokens", load.shared_prefix_tokens, "of them, tokens that all prompts begin with");
  add("--seed", load.seed, "of prompts and arrivals")->check(CLI::NonNegativeNumber);
}

void add_compression_options(CLI::App& command, Compression& compression) {
  CLI::Option* press =
      command
          .add_option("--press", compression.press,
                      "compress each prompt's KV: a name that `fastcache presses` lists, or a text such as "
                      "adakv(keydiff(ratio=0.6))")
          ->capture_default_str();
  CLI::Option* ratio =
      command.add_option("--ratio", compression.ratio, "share of the KV rows that the press removes, 0 to 1")
          ->needs(press);
  command
      .add_option("--budget", compression.budget, "instead of --ratio: rows kept in each layer and KV head")
      ->needs(press)
      ->excludes(ratio);
}

template <size_t N>
void refuse(const CLI::App& command, const std::array<const char*, N>& options, const std::string& why) {
  for (const char* option : options)
    if (command.count(option) > 0) throw Error{Code::bad_request, option + (" " + why)};
}

}  // namespace

CLI::Option* add_serving_options(CLI::App& command, bench::ServingOptions& options) {
  CLI::Option* requests = command.add_option(
      "--requests,--num-prompts", options.load.requests,
      "serving benchmark of the engine in process: so many requests, 1 to 4096 [none]; with "
      "--url of a server");
  add_load_options(command, options.load);
  command.add_option("--generate-tokens", options.generate_tokens, "length of each answer, in tokens")
      ->capture_default_str();
  add_compression_options(command, options.compression);
  command.add_option("--policy", options.engine.policy, "of the scheduler: dynamic or fcfs")
      ->capture_default_str();
  command
      .add_option("--itl-target", options.engine.itl_target_ms,
                  "of policy dynamic: ms that a running answer waits for its next token, at most")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 60000.0));
  command.add_option("--max-running", options.engine.max_running, "answers that decode together, at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  command.add_flag_callback(
      "--no-prefix-cache", [&options] { options.engine.prefix_cache = false; },
      "every request computes its whole prompt");
  return requests;
}

void check_serving_options(const CLI::App& command) {
  const bool url = command.count("--url") > 0, requests = command.count("--requests") > 0;
  if (url || requests) {
    refuse(command, kKernelOptions, "excludes --requests and --url");
  } else {
    refuse(command, kLoadOptions, "requires --requests or --url");
    refuse(command, kEngineOptions, "requires --requests");
  }
  if (url) {
    refuse(command, kLocalOptions, "excludes --url: the server has its own");
    refuse(command, kEngineOptions, "excludes --url: --extra-body tells a server");
  }
}

}  // namespace fastcache::cli
