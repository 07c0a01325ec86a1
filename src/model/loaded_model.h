// SPDX-License-Identifier: Apache-2.0
// All that belongs to one model file: what the engine, the CLI and the server need of it. Immutable after
// loading.
#pragma once

#include <memory>
#include <string>

#include "base/compute_pool.h"
#include "model/chat_template.h"
#include "model/family.h"
#include "model/gguf_file.h"
#include "model/hparams.h"
#include "model/vocab.h"

namespace fastcache::model {

struct LoadedModel {
  // Throws Error: not_found, io, invalid_model, unsupported. Call it early: it may fork (see vocab_probe.h).
  LoadedModel(const std::string& path, ComputePool& compute);
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;

  std::string name() const;  // the file's, without folder and extension: what the API calls the model

  GgufFile file;
  HParams hparams;
  Vocab vocab;
  ChatTemplate chat_template;
  std::unique_ptr<Family> family;
};

}  // namespace fastcache::model
