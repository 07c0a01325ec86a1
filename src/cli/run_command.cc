// SPDX-License-Identifier: Apache-2.0
// `fastcache run`: one answer, or a chat on the terminal.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "cli/chat.h"
#include "cli/commands.h"
#include "cli/picture_answer.h"
#include "cli/session.h"
#include "cli/vision_choice.h"

namespace fastcache::cli {
namespace {

// Standard input, without the line feed that ends it. More than a vocabulary takes is not read: it says so.
std::string read_prompt() {
  constexpr size_t kMost = (size_t{64} << 20) + 2;
  std::string text;
  std::array<char, 65536> buffer;
  while (text.size() < kMost) {
    const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0) {
      throw Error{Code::io,
                  fmt::format("standard input cannot be read: {}", std::generic_category().message(errno))};
    }
    if (n == 0) break;
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

// All that can be found wrong without the model is said before it is loaded.
int run(RunOptions options) {
  engine::check(options.sampling);
  kv::parse_kv_type(options.model.kv_type);
  const bool one_answer = options.has_prompt || isatty(STDIN_FILENO) == 0;
  if (one_answer && !options.has_prompt) options.prompt = read_prompt();
  if (one_answer && options.prompt.empty())
    throw Error{Code::bad_request, "the prompt is empty; it must have at least one character"};
  if (!one_answer && !options.images.empty())
    throw Error{Code::bad_request, "--image needs a question, such as --image a.png \"what is this?\""};
  if (!options.images.empty()) {
    choose_vision(options.model.model, options.mmproj, options.lora);
    return answer_about_pictures(options);
  }
  Session session(options);
  if (!one_answer) {
    chat(session);
    return 0;
  }
  const engine::FinishReason reason = session.ask(options.prompt);
  return reason == engine::FinishReason::cancelled ? exit_code(Code::cancelled) : 0;
}

}  // namespace

void add_run_command(CLI::App& program, int& exit_code) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = program.add_subcommand("run", "answer a prompt, or chat on the terminal");
  add_model_option(*command, options->model);
  add_engine_options(*command, options->model);
  CLI::Option* prompt = command->add_option("-p,--prompt,prompt", options->prompt,
                                            "answer this and leave [chat, or read standard input]");
  CLI::Option* system = command->add_option("--system", options->system, "system message of the chat");
  CLI::Option* raw =
      command->add_flag("--raw", options->raw, "no chat template: continue the prompt as it is")
          ->excludes(system);
  CLI::Option* images =
      command
          ->add_option("--image", options->images,
                       "png, jpeg, webp or gif file that the prompt is about; can be given more than once")
          ->allow_extra_args(false)
          ->excludes(raw);
  command
      ->add_option("--mmproj", options->mmproj,
                   "GGUF file with the model's vision encoder, for --image [with the embedded model its own]")
      ->needs(images);
  command
      ->add_option("--lora", options->lora,
                   "GGUF file with a LoRA adapter, for --image [with the embedded model its own]")
      ->needs(images);
  command->add_option("-n,--max-tokens", options->max_tokens, "longest answer, in tokens")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  command->add_option("--temperature", options->sampling.temperature, "0 = always the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", options->sampling.top_k, "sample among the k likeliest, 0 = all")
      ->capture_default_str();
  command
      ->add_option("--top-p", options->sampling.top_p,
                   "sample among the likeliest with this total probability")
      ->capture_default_str();
  command->add_option("--min-p", options->sampling.min_p, "drop tokens below this share of the likeliest")
      ->capture_default_str();
  command->add_option("--seed", options->sampling.seed, "of the sampler")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);  // CLI11 would wrap -1 around to 2^64 - 1
  command->add_flag("-q,--quiet", options->quiet, "no statistics after the answer");
  command->callback([options, prompt, &exit_code] {
    options->has_prompt = prompt->count() > 0;
    exit_code = run(*options);
  });
}

}  // namespace fastcache::cli
