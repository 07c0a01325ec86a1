// SPDX-License-Identifier: Apache-2.0
#include "model/lora_adapter.h"

#include <spdlog/fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/bf16.h"
#include "base/error.h"
#include "base/log.h"
#include "model/utf8.h"

namespace fastcache::model {
namespace {

constexpr int64_t kMostRank = 1024;
constexpr std::string_view kSuffixA = ".lora_a", kSuffixB = ".lora_b";
constexpr std::array kParts{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};

std::string weight_name(int layer, const char* part) { return fmt::format("blk.{}.{}.weight", layer, part); }

void check_keys(const GgufFile& file, const HParams& hparams) {
  const std::string_view type = file.string("general.type");
  if (type != "adapter")
    file.fail(fmt::format("general.type is '{}'; an adapter has 'adapter'", displayable(type)));
  const std::string_view kind = file.string("adapter.type");
  if (kind != "lora") {
    throw Error{Code::unsupported, fmt::format("{}: adapter.type is '{}'; only 'lora' is supported",
                                               file.path(), displayable(kind))};
  }
  if (file.has("adapter.alora.invocation_tokens")) {
    throw Error{Code::unsupported,
                fmt::format("{}: the adapter wants to be switched on by tokens of the prompt (aLoRA), which "
                            "this program cannot do",
                            file.path())};
  }
  const std::string_view architecture = file.string("general.architecture");
  if (architecture != hparams.architecture->name) {
    throw Error{Code::bad_request,
                fmt::format("{}: the adapter is for models of architecture '{}', this one's is '{}'",
                            file.path(), displayable(architecture), hparams.architecture->name)};
  }
}

// "blk.3.attn_q.weight" of "blk.3.attn_q.weight.lora_a"; empty for another name.
std::string_view adapted_weight(std::string_view tensor) {
  if (tensor.ends_with(kSuffixA) || tensor.ends_with(kSuffixB))
    tensor.remove_suffix(kSuffixA.size());
  else
    tensor = {};
  return tensor;
}

// Nothing in the file may be overlooked: without a part of it the answers would be wrong.
void check_names(const GgufFile& file, const HParams& hparams) {
  if (file.index().tensors.empty()) file.fail("the adapter has no tensors");
  std::set<std::string, std::less<>> known;
  for (int layer = 0; layer < hparams.n_layers; ++layer) {
    for (const char* part : kParts) known.insert(weight_name(layer, part));
  }
  for (const GgufTensor& tensor : file.index().tensors) {
    const std::string_view weight = adapted_weight(tensor.name);
    if (!known.contains(weight)) {
      throw Error{
          Code::unsupported,
          fmt::format("{}: tensor '{}' cannot be applied; there must be blk.0 to blk.{} with one of {} "
                      "and .weight.lora_a or .weight.lora_b",
                      file.path(), displayable(tensor.name), hparams.n_layers - 1, fmt::join(kParts, ", "))};
    }
    const bool is_a = tensor.name.ends_with(kSuffixA);
    const std::string other = fmt::format("{}{}", weight, is_a ? kSuffixB : kSuffixA);
    if (!file.has_tensor(other))
      file.fail(fmt::format("tensor '{}' is there, but '{}' is not", tensor.name, other));
  }
}

void convert(const Tensor& tensor, const GgufFile& file, std::vector<float>& to) {
  const auto* halves = static_cast<const uint16_t*>(tensor.data);  // the file's alignment is at least 8
  for (size_t i = 0; i < to.size(); ++i) {
    switch (tensor.type) {
      case GGML_TYPE_F32:
        to[i] = static_cast<const float*>(tensor.data)[i];
        break;
      case GGML_TYPE_F16:
        to[i] = f16_to_f32(halves[i]);
        break;
      case GGML_TYPE_BF16:
        to[i] = bf16_to_f32(halves[i]);
        break;
      default:
        throw Error{Code::unsupported,
                    fmt::format("{}: tensor '{}' has type {}; an adapter's must be f32, f16 or bf16",
                                file.path(), tensor.name, ggml_type_name(tensor.type))};
    }
    if (!std::isfinite(to[i]))
      file.fail(fmt::format("tensor '{}' has a number that is not finite, at {}", tensor.name, i));
  }
}

struct Pair {
  int rank = 0;
  std::vector<float> a;  // [rank, n_in]
  std::vector<float> b;  // [n_out, rank]
};

const GgufTensor& find(const GgufFile& file, const std::string& name) {
  const auto& tensors = file.index().tensors;
  return *std::ranges::find(tensors, name, &GgufTensor::name);
}

[[noreturn]] void wrong_shape(const GgufFile& file, const GgufTensor& tensor, const std::string& expected) {
  throw Error{Code::bad_request,
              fmt::format("{}: tensor '{}' has shape {}; for this model it must be {}: the adapter belongs "
                          "to another one",
                          file.path(), tensor.name, shape_text(std::span(tensor.dims).first(2)), expected)};
}

// Of a weight [n_in, n_out]; nothing: the file leaves it alone.
std::optional<Pair> read_pair(const GgufFile& file, const std::string& weight, int n_in, int n_out) {
  const std::string a_name = fmt::format("{}{}", weight, kSuffixA);
  const std::string b_name = fmt::format("{}{}", weight, kSuffixB);
  if (!file.has_tensor(a_name)) return std::nullopt;
  const GgufTensor &a = find(file, a_name), &b = find(file, b_name);
  const int64_t rank = a.dims[1];
  if (a.n_dims > 2 || a.dims[0] != n_in) wrong_shape(file, a, fmt::format("[{}, rank]", n_in));
  if (rank < 1 || rank > kMostRank)
    file.fail(fmt::format("tensor '{}' has rank {}; 1 to {} is possible", a_name, rank, kMostRank));
  if (b.n_dims > 2 || b.dims[0] != rank || b.dims[1] != n_out)
    wrong_shape(file, b, fmt::format("[{}, {}]", rank, n_out));
  Pair pair{.rank = static_cast<int>(rank), .a = {}, .b = {}};
  pair.a.resize(static_cast<size_t>(rank) * static_cast<size_t>(n_in));
  pair.b.resize(static_cast<size_t>(rank) * static_cast<size_t>(n_out));
  convert(file.tensor(a_name, {n_in, rank}), file, pair.a);
  convert(file.tensor(b_name, {rank, n_out}), file, pair.b);
  return pair;
}

// Those of a stack that the adapter has a pair for.
class Stack {
 public:
  Stack(const GgufFile& file, int layer, int n_in, float alpha)
      : file_(file), layer_(layer), n_in_(n_in), alpha_(alpha) {}

  Stack& add(const char* part, int n_out) {
    if (std::optional<Pair> pair = read_pair(file_, weight_name(layer_, part), n_in_, n_out)) {
      const float scale = alpha_ != 0 ? alpha_ / static_cast<float>(pair->rank) : 1.0f;
      for (const float x : pair->b) {
        if (!std::isfinite(scale * x))
          file_.fail(fmt::format("adapter.lora.alpha is {}: numbers of '{}' overflow", alpha_,
                                 weight_name(layer_, part)));
      }
      pairs_.push_back(std::move(*pair));
      const Pair& kept = pairs_.back();
      sources_.push_back({.first_column = n_columns_,
                          .n_out = n_out,
                          .rank = kept.rank,
                          .a = kept.a.data(),
                          .b = kept.b.data(),
                          .scale = scale});
    }
    n_columns_ += n_out;
    return *this;
  }

  std::span<const linear::LowRankSource> sources() const { return sources_; }

 private:
  const GgufFile& file_;
  int layer_, n_in_;
  float alpha_;
  int n_columns_ = 0;
  std::vector<Pair> pairs_;  // moving one leaves its numbers where they are
  std::vector<linear::LowRankSource> sources_;
};

}  // namespace

LoraAdapter::LoraAdapter(const std::string& path, const HParams& hparams) {
  const GgufFile file(path);
  check_keys(file, hparams);
  check_names(file, hparams);
  const float alpha = file.real_or("adapter.lora.alpha", 0.0f);
  layers_.resize(static_cast<size_t>(hparams.n_layers));
  for (int layer = 0; layer < hparams.n_layers; ++layer) read_layer(file, hparams, layer, alpha);
  digest_ = file.content_hash();
  log().info("{}: LoRA for {} matrices, alpha {}, {:.1f} MiB", path, n_matrices_, alpha,
             static_cast<double>(bytes()) / (1 << 20));
}

void LoraAdapter::read_layer(const GgufFile& file, const HParams& hparams, int index, float alpha) {
  const HParams& h = hparams;
  const int q_width = h.n_heads * h.head_dim, kv_width = h.n_kv_heads * h.head_dim;
  Layer& layer = layers_[static_cast<size_t>(index)];
  const auto stack = [&](int n_in) { return Stack(file, index, n_in, alpha); };
  add(layer.qkv, h.n_embd,
      stack(h.n_embd).add("attn_q", q_width).add("attn_k", kv_width).add("attn_v", kv_width).sources());
  add(layer.output, q_width, stack(q_width).add("attn_output", h.n_embd).sources());
  add(layer.gate_up, h.n_embd, stack(h.n_embd).add("ffn_gate", h.n_ff).add("ffn_up", h.n_ff).sources());
  add(layer.down, h.n_ff, stack(h.n_ff).add("ffn_down", h.n_embd).sources());
}

void LoraAdapter::add(std::optional<linear::LowRank>& to, int n_in,
                      std::span<const linear::LowRankSource> sources) {
  if (sources.empty()) return;
  to.emplace(n_in, sources);
  hidden_width_ = std::max(hidden_width_, to->hidden_width());
  n_matrices_ += static_cast<int>(sources.size());
}

LoraLayer LoraAdapter::layer(int index) const {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const auto pointer = [](const std::optional<linear::LowRank>& part) { return part ? &*part : nullptr; };
  return {.qkv = pointer(layer.qkv),
          .output = pointer(layer.output),
          .gate_up = pointer(layer.gate_up),
          .down = pointer(layer.down)};
}

size_t LoraAdapter::bytes() const {
  size_t bytes = 0;
  for (const Layer& layer : layers_) {
    for (const auto* part : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down})
      bytes += *part ? (*part)->bytes() : 0;
  }
  return bytes;
}

}  // namespace fastcache::model
