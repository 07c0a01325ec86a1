// SPDX-License-Identifier: Apache-2.0
// `fastcache models`: the models in the cache folder.
#include <cstdio>

#include "cli/commands.h"
#include "cli/options.h"
#include "model/models.h"

namespace fastcache::cli {

void add_models_command(CLI::App& program, int& exit_code) {
  CLI::App* command = program.add_subcommand("models", "list the models in the cache folder");
  command->callback([&exit_code] {
    const std::vector<model::ModelFile> models = model::list_models();
    for (const model::ModelFile& file : models) {
      std::printf("%-48s %12s  %s\n", file.path.stem().c_str(), format_bytes(file.bytes).c_str(),
                  file.path.c_str());
    }
    if (models.empty()) {
      std::fprintf(stderr, "no models in %s; `make setup` brings the embedded one\n",
                   (model::cache_folder() / "models").c_str());
    }
    exit_code = 0;
  });
}

}  // namespace fastcache::cli
