// SPDX-License-Identifier: Apache-2.0
// `fastcache eval`: quality of compressed caches, as a table, JSON and a page.
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/eval_vision.h"
#include "cli/interrupt.h"
#include "cli/json_file.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "eval/evaluate.h"
#include "eval/figures.h"
#include "eval/report_html.h"
#include "eval/report_json.h"
#include "eval/report_table.h"
#include "model/models.h"

namespace fastcache::cli {
namespace {

struct EvalCommand {
  ModelOptions model;
  bool quick = false;
  eval::EvalOptions given;
  VisionEvalOptions vision;
  std::string json_path, html_path, markdown_path, chart_js;
};

// --quick and what the user said besides: this counts more.
eval::EvalOptions all_options(const CLI::App& command, const EvalCommand& said) {
  eval::EvalOptions options = said.quick ? eval::quick_options() : eval::EvalOptions{};
  const auto take = [&](const char* option, auto& value, const auto& given) {
    if (command.count(option) > 0) value = given;
  };
  const eval::EvalOptions& given = said.given;
  take("--press", options.presses, given.presses);
  take("--removed", options.removed, given.removed);
  take("--data", options.data, given.data);
  take("--seed", options.seed, given.seed);
  take("--documents", options.documents, given.documents);
  take("--context", options.context_tokens, given.context_tokens);
  take("--continuation", options.continuation_tokens, given.continuation_tokens);
  take("--examples", options.examples, given.examples);
  take("--lengths", options.lengths, given.lengths);
  options.query_aware = given.query_aware;
  options.kv_type = said.model.kv_type;
  options.chunk_tokens = said.model.chunk_tokens;
  return options;
}

// What both kinds of evaluation know by the same name.
VisionEvalOptions vision_options(const CLI::App& command, const EvalCommand& said) {
  for (const char* option :
       {"--quick", "--documents", "--context", "--continuation", "--lengths", "--query-aware"})
    if (command.count(option) > 0)
      throw Error{
          Code::bad_request,
          fmt::format("{} is for texts; questions about pictures (--dataset) have none of it", option)};
  VisionEvalOptions options = said.vision;
  const eval::EvalOptions& given = said.given;
  options.questions.data = given.data;
  options.questions.presses = given.presses;
  if (command.count("--seed") > 0) options.questions.seed = given.seed;
  if (command.count("--examples") > 0) options.questions.examples = given.examples;
  if (command.count("--removed") > 0) options.questions.removed = given.removed;
  return options;
}

int run(const EvalCommand& command, const eval::EvalOptions& options) {
  eval::check_options(options);
  for (const std::string& path : {command.json_path, command.html_path, command.markdown_path})
    check_writable(path);
  const std::string chart_js =
      command.html_path.empty() ? std::string() : eval::read_chart_js(command.chart_js);
  ComputePool compute(command.model.threads);
  const model::LoadedModel model(model::find_model(command.model.model).string(), compute);
  eval::EvalResult result;
  {
    ProgressBar bar;
    const Interrupt interrupt(Interrupt::Second::ends_the_program);
    result = eval::evaluate(model, compute, options, [&](int done, int of, const std::string& what) {
      bar.show(done, of, what);
      return !interrupt.requested();
    });
  }
  if (command.json_path != "-") print_now(eval::report_table(result));
  if (!command.json_path.empty()) write_json(eval::report_json(result), command.json_path);
  if (!command.html_path.empty()) write_text(eval::report_html(result, chart_js), command.html_path);
  if (!command.markdown_path.empty()) write_text(eval::report_markdown(result), command.markdown_path);
  if (!eval::is_complete(result))
    return report(fmt::format("stopped; this is what was measured: {}", eval::how_far(result)),
                  Code::cancelled);
  return 0;
}

void add_sample_options(CLI::App& command, eval::EvalOptions& given) {
  command.add_option("--press", given.presses,
                     "a method as `fastcache presses` writes it, without ratio; may be repeated [all; with "
                     "--dataset none, or `all`]");
  command
      .add_option("--removed", given.removed,
                  "fractions of the rows removed [0.25,0.5,0.75,0.8,0.9; with --dataset 0.5,0.8]")
      ->delimiter(',');
  command.add_option("--data", given.data,
                     "texts: a folder, a file, or a .jsonl file with \"text\" [the system's documents]; with "
                     "--dataset its folder");
  command.add_option("--seed", given.seed, "chooses texts, tasks and what is random in methods [1]");
  command.add_option("--documents", given.documents, "texts that are continued, 0: none [12; quick 4]");
  command.add_option("--context", given.context_tokens,
                     "tokens of a text that are compressed [2048; quick 1024]");
  command.add_option("--continuation", given.continuation_tokens,
                     "tokens of a text that are scored afterwards [512; quick 256]");
  command.add_option(
      "--examples", given.examples,
      "of each retrieval task and length, 0: none [16; quick 6]; with --dataset questions, 0: all [all]");
  command.add_option("--lengths", given.lengths, "tokens of a retrieval task [2048,4096,8192; quick 1024]")
      ->delimiter(',');
  command.add_flag("--query-aware", given.query_aware,
                   "retrieval tasks also with the question known before the compression");
}

}  // namespace

void add_eval_command(CLI::App& program, int& exit_code) {
  auto options = std::make_shared<EvalCommand>();
  CLI::App* command = program.add_subcommand("eval", "measure the quality of compressed caches");
  add_model_option(*command, options->model);
  command->add_option("-t,--threads", options->model.threads, "compute threads, 0 = one per core")
      ->capture_default_str()
      ->check(CLI::Range(0, 512));
  command->add_option("--kv-type", options->model.kv_type, "element type of K and V: f32, bf16 or int8")
      ->capture_default_str();
  command->add_option("--chunk", options->model.chunk_tokens, "prompt tokens in one step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_flag("--quick", options->quick, "fewer and shorter samples: minutes, and wide intervals");
  add_sample_options(*command, options->given);
  command->add_option("--json", options->json_path, "write JSON to this file, - for standard output");
  command->add_option("--html", options->html_path, "write a page with the curves to this file");
  command->add_option("--markdown", options->markdown_path, "write the tables as Markdown to this file");
  command->add_option("--chart-js", options->chart_js,
                      "Chart.js for the page [where the system has it; without it the page draws plainer]");
  const CLI::Option* dataset = add_vision_options(*command, options->model, options->vision);
  command->callback([options, command, dataset, &exit_code] {
    const EvalCommand& said = *options;
    exit_code = dataset->count() > 0
                    ? run_vision_eval(vision_options(*command, said), said.model,
                                      {said.json_path, said.html_path, said.markdown_path, said.chart_js})
                    : run(said, all_options(*command, said));
  });
}

}  // namespace fastcache::cli
