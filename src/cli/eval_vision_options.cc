// SPDX-License-Identifier: Apache-2.0
#include <spdlog/fmt/fmt.h>

#include "cli/eval_vision.h"
#include "eval/vision_dataset.h"

namespace fastcache::cli {

CLI::Option* add_vision_options(CLI::App& command, ModelOptions& model, VisionEvalOptions& options) {
  std::string names;
  for (const eval::VisionDataset& dataset : eval::vision_datasets())
    names += fmt::format("{}{}", names.empty() ? "" : ", ", dataset.name);
  CLI::Option* dataset = command.add_option(
      "--dataset", options.questions.dataset,
      fmt::format("questions about pictures instead of texts: {}; --data names its folder [none]", names));
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help)->needs(dataset);
  };
  add("--mmproj", options.mmproj,
      "GGUF file with the model's vision encoder [with the embedded model its own]");
  add("--lora", options.lora,
      "GGUF file with a LoRA adapter for questions with pictures [with the embedded model its own]");
  CLI::Option* url = add("--url", options.url,
                         "ask an OpenAI-compatible server, http://HOST:PORT, instead of a model here [none]");
  const auto add_for_url = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help)->needs(url);
  };
  add_for_url("--served-model-name", options.served_model_name,
              "the model's name in requests [the first that the server lists]");
  add_for_url("--api-key", options.api_key, "sent as bearer token [$OPENAI_API_KEY]");
  add_for_url("--timeout", options.timeout_s, "seconds without a byte after which a question has failed")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 1e6));
  add("--categories", options.questions.categories, "only questions of these categories [all]")
      ->delimiter(',');
  add("--concurrency", options.questions.concurrency, "questions in flight at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  add("--answer-tokens", options.questions.answer_tokens, "of an answer at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  command.add_flag("--blind", options.questions.blind, "the same questions without the pictures")
      ->needs(dataset);
  add_pool_option(command, model);
  command.get_option("--pool")->needs(dataset);
  for (const char* of_a_model_here : {"--model", "--threads", "--kv-type", "--chunk", "--pool"})
    url->excludes(command.get_option(of_a_model_here));
  return dataset;
}

}  // namespace fastcache::cli
