// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_url.h"

namespace fastcache::cli {

CLI::Option* add_url_options(CLI::App& command, UrlBenchOptions& options) {
  CLI::Option* url = command.add_option(
      "--url", options.url, "serving benchmark of an OpenAI-compatible server: http://HOST:PORT [none]");
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help)->needs(url);
  };
  add("--endpoint", options.endpoint, "/v1/completions or /v1/chat/completions")->capture_default_str();
  add("--served-model-name", options.served_model_name,
      "the model's name in requests [the first that the server lists]");
  add("--api-key", options.api_key, "sent as bearer token [$OPENAI_API_KEY]");
  add("--extra-body", options.extra_body,
      R"j(JSON object added to each request, such as '{"kv_compression": "knorm(ratio=0.8)"}')j");
  add("--dataset", options.dataset,
      "prompts from a file: text (one a line), .jsonl (prompt or messages), .json (ShareGPT) [random ones]");
  add("--max-concurrency", options.max_concurrency, "requests in flight at most, 0 = any number")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  add("--goodput", options.goodput, "limits in ms: ttft:500 tpot:50 e2el:9000; requests that keep them count")
      ->expected(1, 3);
  command
      .add_flag("--ignore-eos,!--no-ignore-eos", options.ignore_eos,
                "answers have their full length, if the server knows ignore_eos [random prompts: yes, "
                "datasets: no]")
      ->needs(url);
  add("--timeout", options.timeout_s, "seconds without a byte after which a request has failed")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 1e6));
  return url;
}

}  // namespace fastcache::cli
