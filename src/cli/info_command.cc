// SPDX-License-Identifier: Apache-2.0
// `fastcache info`: what a model file is and what its cache costs.
#include <ggml.h>

#include <cstdio>
#include <memory>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "model/model_info.h"
#include "model/models.h"

namespace fastcache::cli {
namespace {

void print_cache(const model::HParams& hparams, uint64_t pool_bytes) {
  std::printf(
      "layers          %d\nquery heads     %d\nKV heads        %d of %d channels\nhidden          %d\nffn    "
      "         %d\n"
      "vocabulary      %d tokens\ncontext         %d tokens\n",
      hparams.n_layers, hparams.n_heads, hparams.n_kv_heads, hparams.head_dim, hparams.n_embd, hparams.n_ff,
      hparams.n_vocab, hparams.context_length);
  if (hparams.sliding_window > 0) std::printf("sliding window  %d tokens\n", hparams.sliding_window);
  for (const kv::KvType type : {kv::KvType::f32, kv::KvType::bf16, kv::KvType::int8}) {
    std::printf("KV %-5s        %s per token; a pool of %s holds %llu tokens\n", kv::kv_type_name(type),
                format_bytes(model::kv_bytes_per_token(hparams, type)).c_str(),
                format_bytes(pool_bytes).c_str(),
                static_cast<unsigned long long>(model::kv_tokens_in(hparams, type, pool_bytes)));
  }
}

void print_info(const model::ModelInfo& info, uint64_t pool_bytes) {
  std::printf("file            %s\nsize            %s\narchitecture    %s\n", info.path.c_str(),
              format_bytes(info.file_bytes).c_str(), info.architecture.c_str());
  if (!info.name.empty()) std::printf("name            %s\n", info.name.c_str());
  std::printf("parameters      %.1f M\n", static_cast<double>(info.parameters) / 1e6);
  for (const model::TypeShare& share : info.types) {
    std::printf("  %-13s %llu tensors, %.1f M parameters, %s\n", ggml_type_name(share.type),
                static_cast<unsigned long long>(share.tensors), static_cast<double>(share.parameters) / 1e6,
                format_bytes(share.bytes).c_str());
  }
  if (info.hparams) {
    print_cache(*info.hparams, pool_bytes);
  } else {
    std::printf("cannot be run   %s\n", info.why_not.c_str());
  }
}

}  // namespace

void add_info_command(CLI::App& program, int& exit_code) {
  auto options = std::make_shared<ModelOptions>();
  CLI::App* command = program.add_subcommand("info", "what a model file is, and what its KV cache costs");
  command->add_option("model,-m,--model", options->model,
                      "GGUF file, or a name that `fastcache models` lists [the embedded model]");
  add_pool_option(*command, *options);
  command->callback([options, &exit_code] {
    const model::GgufFile file(model::find_model(options->model).string());
    print_info(model::model_info(file), options->pool_bytes);
    exit_code = 0;
  });
}

}  // namespace fastcache::cli
