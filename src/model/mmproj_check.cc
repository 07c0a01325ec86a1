// SPDX-License-Identifier: Apache-2.0
#include "model/mmproj_check.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include <algorithm>

#include "base/error.h"

namespace fastcache::model {
namespace {

const std::vector<Projector>& projectors() {
  static const std::vector<Projector> table{
      {"mlp", "mm.2.weight", 1, {}, false, true},
      {"idefics3", "mm.model.fc.weight", 1, {"<fake_token_around_image>", "<global-img>"}, false, true},
      {"gemma3", "mm.input_projection.weight", 0, {"<start_of_image>", "<end_of_image>"}, false, true},
      {"qwen2vl_merger", "mm.2.weight", 1, {"<|vision_start|>", "<|vision_end|>"}, true, false},
      {"qwen2.5vl_merger", "mm.2.weight", 1, {"<|vision_start|>", "<|vision_end|>"}, true, false},
  };
  return table;
}

const Projector& find_projector(const GgufFile& file) {
  const std::string_view name =
      file.string_or("clip.projector_type", file.string_or("clip.vision.projector_type", ""));
  if (name.empty()) file.fail("key clip.projector_type is missing; an mmproj file names its projector there");
  for (const Projector& projector : projectors()) {
    if (projector.name == name) return projector;
  }
  std::vector<const char*> known;
  for (const Projector& projector : projectors()) known.push_back(projector.name);
  throw Error{Code::unsupported, fmt::format("{}: projector '{}' is not supported; there are {}", file.path(),
                                             name, fmt::join(known, ", "))};
}

int64_t width_of(const GgufFile& file, const Projector& projector) {
  const auto& tensors = file.index().tensors;
  const auto tensor =
      std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == projector.tensor; });
  if (tensor == tensors.end()) {
    file.fail(fmt::format("tensor {} is missing; projector {} ends in it", projector.tensor, projector.name));
  }
  return tensor->dims[static_cast<size_t>(projector.width_dim)];
}

}  // namespace

const Projector& check_mmproj(const GgufFile& file, const Vocab& vocab, int text_width) {
  const std::string_view architecture = file.string("general.architecture");
  if (architecture != "clip") {
    file.fail(
        fmt::format("general.architecture is '{}'; a vision encoder (mmproj) has 'clip'", architecture));
  }
  if (!file.boolean_or("clip.has_vision_encoder", false))
    file.fail("clip.has_vision_encoder is not set; the file holds no vision encoder");
  const Projector& projector = find_projector(file);
  const int64_t width = width_of(file, projector);
  if (width != text_width) {
    throw Error{
        Code::bad_request,
        fmt::format("{}: its image embeddings have width {}, the text model's have {}; it belongs to another "
                    "text model",
                    file.path(), width, text_width)};
  }
  for (const char* marker : projector.markers) {
    const std::vector<Token> tokens = vocab.tokenize(marker, {.add_special = false, .parse_special = true});
    if (tokens.size() == 1 && vocab.piece(tokens[0], true) == marker) continue;
    throw Error{
        Code::bad_request,
        fmt::format(
            "{}: projector {} needs the token {}, which the text model's vocabulary does not have; it "
            "belongs to another text model",
            file.path(), projector.name, marker)};
  }
  return projector;
}

}  // namespace fastcache::model
