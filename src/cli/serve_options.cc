// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_options.h"

#include "base/log.h"
#include "cli/options.h"
#include "cli/vision_choice.h"
#include "engine/sampling_params.h"
#include "model/models.h"
#include "press/registry.h"
#include "server/kv_compression.h"

namespace fastcache::cli {
namespace {

using CLI::Range;

CLI::Option* add_bytes(CLI::App& command, const char* name, auto& bytes, const char* help) {
  return command.add_option(name, bytes, help)
      ->transform([](const std::string& text) { return std::to_string(parse_bytes(text)); }, "")
      ->default_str(format_bytes(bytes));
}

// Seconds on the command line, milliseconds inside.
void add_seconds(CLI::App& command, const char* name, int64_t& ms, const char* help) {
  constexpr double kMost = 1e6;
  command
      .add_option_function<double>(
          name, [&ms](double seconds) { ms = static_cast<int64_t>(seconds * 1000); }, help)
      ->default_str(fmt::format("{}", static_cast<double>(ms) / 1000))
      ->check(Range(0.001, kMost));
}

void add_model_options(CLI::App& command, EngineOptions& engine) {
  command.add_option("-m,--model", engine.model,
                     "GGUF file, or a name that `fastcache models` lists [the embedded model]");
  command.add_option("--mmproj", engine.mmproj,
                     "GGUF file with the model's vision encoder: requests may bring pictures then; none: no "
                     "pictures [with the embedded model its own]");
  command.add_option("--lora", engine.lora,
                     "GGUF file with a LoRA adapter for requests that hold pictures; answers to text stay as "
                     "they are [with the embedded model its own]");
  add_bytes(command, "--image-cache", engine.image_cache_bytes,
            "embeddings kept of pictures that were seen before");
  command.add_option("-t,--threads", engine.threads, "compute threads, 0 = one per core")
      ->capture_default_str()
      ->check(Range(0, 512));
  add_bytes(command, "--pool", engine.pool_bytes,
            "size of the KV pool of all requests: bytes, or with a unit such as 512MiB");
  command.add_option("--kv-type", engine.kv_type, "element type of K and V")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  command.add_option("--step-tokens", engine.step_tokens, "tokens in one step of the model, of all requests")
      ->capture_default_str()
      ->check(Range(1, 1 << 20));
  command.add_option("--max-running", engine.max_running, "answers that decode together, at most")
      ->capture_default_str()
      ->check(Range(1, 1 << 16));
  command
      .add_option("--max-queue", engine.max_waiting, "requests that wait, at most; one more is answered 429")
      ->capture_default_str()
      ->check(Range(1, 1 << 20));
  command.add_option("--policy", engine.policy, "of the scheduler")
      ->capture_default_str()
      ->check(CLI::IsMember({"dynamic", "fcfs"}));
  command
      .add_option("--itl-target", engine.itl_target_ms,
                  "ms: with policy dynamic, prompts are computed in such pieces that running answers wait no "
                  "longer for their next token")
      ->capture_default_str()
      ->check(Range(1.0, 60000.0));
  command.add_flag_callback(
      "--no-prefix-cache", [&engine] { engine.prefix_cache = false; },
      "every request computes its whole prompt");
}

void add_request_defaults(CLI::App& command, ServeOptions& options) {
  server::ApiDefaults& defaults = options.server.defaults;
  command.add_option("--kv-compression", options.kv_compression,
                     "compression of requests that name none, such as \"knorm(ratio=0.8)\" [none]");
  command
      .add_option("--max-tokens", defaults.max_tokens,
                  "longest answer of requests that do not say, 0 = what the context holds; completions 16")
      ->capture_default_str()
      ->check(Range(0, 1 << 30));
  const auto add = [&](const char* name, auto& value, const char* help) {
    command.add_option(name, value, help)->capture_default_str();
  };
  add("--temperature", defaults.sampling.temperature, "of requests that do not say; 0 = the likeliest token");
  add("--top-k", defaults.sampling.top_k, "of requests that do not say, 0 = all");
  add("--top-p", defaults.sampling.top_p, "of requests that do not say");
  add("--min-p", defaults.sampling.min_p, "of requests that do not say");
}

void add_address_options(CLI::App& command, ServeOptions& options) {
  server::HttpOptions& http = options.server.http;
  http.port = 8080;
  command.add_option("--host", http.host, "address to listen at; 0.0.0.0 or :: for all of this machine")
      ->capture_default_str();
  command.add_option("--port", http.port, "0 = any free one")->capture_default_str()->check(Range(0, 65535));
  command.add_option("--served-model-name", options.server.served_model,
                     "the model's name in the API [what the file calls itself]");
  CLI::Option* file = command.add_option("--api-key-file", options.server.key_file,
                                         "keys of the API, one a line [the environment's FASTCACHE_API_KEY]");
  command
      .add_flag("--no-key", http.open_without_key,
                "let whoever reaches the port ask, even if --host is not this machine alone")
      ->excludes(file);
  command.add_option("--cors-origin", http.cors_origins,
                     "web pages of this origin may ask, such as https://example.org, or * for all");
  CLI::Option* certificate =
      command.add_option("--tls-cert", http.tls_chain_file, "PEM file: the server's certificate first");
  CLI::Option* key = command.add_option("--tls-key", http.tls_key_file, "PEM file: the certificate's key");
  certificate->needs(key);
  key->needs(certificate);
}

void add_limit_options(CLI::App& command, server::HttpOptions& http) {
  server::HttpLimits& limits = http.limits;
  command.add_option("--max-connections", limits.max_connections, "one more is answered 503")
      ->capture_default_str()
      ->check(Range(1, 1'000'000));
  add_bytes(command, "--max-body", limits.body_bytes, "largest request; a larger one is answered 413");
  add_seconds(command, "--header-timeout-s", limits.header_timeout_ms, "for a request's header to come");
  add_seconds(command, "--body-timeout-s", limits.body_timeout_ms,
              "for a request's body to come, besides what its size may take");
  add_seconds(command, "--idle-timeout-s", limits.idle_timeout_ms, "between two requests of a connection");
  add_seconds(command, "--write-timeout-s", limits.write_timeout_ms,
              "a client that takes nothing for so long is dropped");
  command.add_option("--drain-s", http.drain_s, "at the end, what running requests get to finish")
      ->capture_default_str()
      ->check(Range(0.0, 1e6));
  command.add_flag("--log-json", http.log_json, "log lines as JSON objects");
}

void add_image_options(CLI::App& command, server::ImageOptions& images) {
  command.add_option(
      "--allow-remote-images", images.remote_hosts,
      "hosts whose pictures requests may name by URL, such as example.org or example.org:8443");
  command
      .add_option("--allow-local-images", images.local_folder,
                  "folder of this machine whose pictures requests may name by path or file:// URL")
      ->check(CLI::ExistingDirectory);
  command.add_option("--max-images", images.max_pictures, "pictures of a request, at most")
      ->capture_default_str()
      ->check(Range(1, 4096));
  command.add_option("--max-image-pixels", images.each.pixels, "of a picture, width x height")
      ->capture_default_str()
      ->check(Range(1, 1 << 28));
  command
      .add_option("--max-images-total-pixels", images.all_pixels,
                  "of all pictures of a request, width x height")
      ->capture_default_str()
      ->check(Range(1, 1 << 30));
  add_bytes(command, "--max-image-bytes", images.each.file_bytes, "largest file of a picture");
  add_bytes(command, "--max-images-total-bytes", images.all_file_bytes, "files of all pictures of a request");
  add_seconds(command, "--image-timeout-s", images.fetch_timeout_ms, "for a picture to come from its host");
}

}  // namespace

void add_serve_options(CLI::App& command, ServeOptions& options) {
  add_model_options(command, options.server.engine);
  add_address_options(command, options);
  add_request_defaults(command, options);
  add_limit_options(command, options.server.http);
  add_image_options(command, options.server.images);
}

void finish(ServeOptions& options) {
  engine::check(options.server.defaults.sampling);
  EngineOptions& engine = options.server.engine;
  model::find_model(engine.model);
  choose_vision(engine.model, engine.mmproj, engine.lora);
  if (options.kv_compression.empty()) return;
  const Compression wish = server::parse_compression(options.kv_compression);
  press::complete({.name = wish.press,
                   .ratio = wish.ratio,
                   .budget = wish.budget,
                   .seed = wish.seed,
                   .numbers = wish.parameters});
  options.server.defaults.compression = wish;
}

}  // namespace fastcache::cli
