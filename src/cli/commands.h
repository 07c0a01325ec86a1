// SPDX-License-Identifier: Apache-2.0
// One file per subcommand. Each registers itself on the program's parser; its callback runs the command and
// stores the process's exit code. Errors leave as Error and are printed by main.
#pragma once

#include <CLI/CLI.hpp>

namespace fastcache::cli {

void add_run_command(CLI::App& program, int& exit_code);
void add_info_command(CLI::App& program, int& exit_code);
void add_models_command(CLI::App& program, int& exit_code);
void add_presses_command(CLI::App& program, int& exit_code);
void add_bench_command(CLI::App& program, int& exit_code);
void add_eval_command(CLI::App& program, int& exit_code);
void add_serve_command(CLI::App& program, int& exit_code);
void add_completion_command(CLI::App& program, int& exit_code);

}  // namespace fastcache::cli
