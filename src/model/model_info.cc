// SPDX-License-Identifier: Apache-2.0
#include "model/model_info.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "model/utf8.h"

namespace fastcache::model {
namespace {

uint64_t page_bytes(const HParams& hparams, kv::KvType type) {
  return kv::page_payload_bytes(hparams.head_dim) + kv::page_side_bytes(type);
}

uint64_t pages_at_once(const HParams& hparams) {
  return static_cast<uint64_t>(hparams.n_layers) * static_cast<uint64_t>(hparams.n_kv_heads);
}

std::vector<TypeShare> shares(const GgufIndex& index) {
  std::map<ggml_type, TypeShare> by_type;
  for (const GgufTensor& tensor : index.tensors) {
    TypeShare& share = by_type[tensor.type];
    share.type = tensor.type;
    ++share.tensors;
    share.bytes += tensor.bytes;
    uint64_t elements = 1;
    for (const int64_t dim : tensor.dims) elements *= static_cast<uint64_t>(dim);
    share.parameters += elements;
  }
  std::vector<TypeShare> sorted;
  for (const auto& [type, share] : by_type) sorted.push_back(share);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const TypeShare& a, const TypeShare& b) { return a.bytes > b.bytes; });
  return sorted;
}

}  // namespace

ModelInfo model_info(const GgufFile& file) {
  ModelInfo info;
  info.path = file.path();
  info.file_bytes = file.bytes();
  info.architecture = displayable(file.string_or("general.architecture", "unknown"));
  info.name = displayable(file.string_or("general.name", ""));
  info.types = shares(file.index());
  for (const TypeShare& share : info.types) info.parameters += share.parameters;
  try {
    info.hparams = read_hparams(file);
  } catch (const Error& error) {
    info.why_not = error.what();
  }
  return info;
}

uint64_t kv_bytes_per_token(const HParams& hparams, kv::KvType type) {
  return pages_at_once(hparams) * page_bytes(hparams, type) / static_cast<uint64_t>(kv::rows_per_page(type));
}

uint64_t kv_tokens_in(const HParams& hparams, kv::KvType type, uint64_t pool_bytes) {
  const uint64_t pages_per_head = pool_bytes / page_bytes(hparams, type) / pages_at_once(hparams);
  return pages_per_head * static_cast<uint64_t>(kv::rows_per_page(type));
}

}  // namespace fastcache::model
