// SPDX-License-Identifier: Apache-2.0
#include "model/loaded_model.h"

#include <filesystem>

#include "base/log.h"

namespace fastcache::model {

LoadedModel::LoadedModel(const std::string& path, ComputePool& compute)
    : file(path), hparams(read_hparams(file)), vocab(file), chat_template(vocab) {
  if (vocab.n_tokens() != hparams.n_vocab) {
    file.fail(fmt::format("the vocabulary has {} tokens, but the embedding has {} rows; they must be equal",
                          vocab.n_tokens(), hparams.n_vocab));
  }
  family = load_family(file, hparams, compute);
  log().info("{}: {} layers, {} query heads, {} KV heads, weights {:.1f} MiB packed", path, hparams.n_layers,
             hparams.n_heads, hparams.n_kv_heads, static_cast<double>(family->weight_bytes()) / (1 << 20));
}

std::string LoadedModel::name() const { return std::filesystem::path(file.path()).stem().string(); }

}  // namespace fastcache::model
