// SPDX-License-Identifier: Apache-2.0
#include "press/registry.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"

namespace fastcache::press {

// Each in the file of its name.
extern const PressRow kNone, kRandom, kKnorm, kStreamingLlm, kSnapKv, kPyramidKv, kTova, kObservedAttention,
    kExpectedAttention, kKeyDiff, kLagKv, kCur, kQuantized, kAdaKv, kCriticalKv, kChunkKv, kChunk, kPerLayer,
    kComposed, kDecoding, kTestUneven, kTestMerging, kTestSecondPass, kTestStreamingHeads;

namespace {

// clang-format off
constexpr const PressRow* kPresses[] = {
    &kNone, &kRandom, &kKnorm, &kStreamingLlm, &kSnapKv, &kPyramidKv, &kTova, &kObservedAttention,
    &kExpectedAttention, &kKeyDiff, &kLagKv, &kCur,
    &kQuantized,
    &kAdaKv, &kCriticalKv, &kChunkKv, &kChunk, &kPerLayer, &kComposed, &kDecoding,  // wrappers
    &kTestUneven, &kTestMerging, &kTestSecondPass, &kTestStreamingHeads};
// clang-format on

std::unique_ptr<Press> make_completed(const PressParams& params) {
  const PressRow& row = find_press(params.name);
  if (row.wrap == nullptr) return row.make(params);
  std::vector<std::unique_ptr<Press>> inner;
  for (const PressParams& wrapped : params.inner) inner.push_back(make_completed(wrapped));
  return row.wrap(params, std::move(inner));
}

std::string identity_of(const PressParams& params) {
  std::vector<std::string> parts;
  for (const PressParams& inner : params.inner) parts.push_back(identity_of(inner));
  for (const auto& [name, value] : params.numbers) parts.push_back(fmt::format("{}={}", name, value));
  for (const auto& [name, values] : params.lists)
    parts.push_back(fmt::format("{}=[{}]", name, fmt::join(values, ", ")));
  if (params.ratio) parts.push_back(fmt::format("ratio={}", *params.ratio));
  if (params.budget) parts.push_back(fmt::format("budget={}", *params.budget));
  if (params.inner.empty() && make_completed(params)->needs().seed)
    parts.push_back(fmt::format("seed={}", params.seed));
  return fmt::format("{}({})", params.name, fmt::join(parts, ", "));
}

}  // namespace

std::span<const PressRow* const> presses() { return kPresses; }

bool same_name(std::string_view a, std::string_view b) {
  const auto plain = [](std::string_view name) {
    std::string text;
    for (const char c : name)
      if (c != '_') text += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return text;
  };
  return plain(a) == plain(b);
}

const PressRow& find_press(std::string_view name) {
  std::vector<std::string_view> known;
  for (const PressRow* row : kPresses) {
    if (same_name(row->name, name)) return *row;
    known.push_back(row->name);
  }
  throw Error{Code::not_found,
              fmt::format("press '{}' does not exist; there are {}", name, fmt::join(known, ", "))};
}

std::unique_ptr<Press> make_press(const PressParams& params) { return make_completed(complete(params)); }

std::string press_identity(const PressParams& params) {
  const PressParams completed = complete(params);
  make_completed(completed);  // a wrapper may refuse
  return identity_of(completed);
}

Hash128 press_hash(const PressParams& params) {
  const std::string identity = press_identity(params);
  return hash128(std::as_bytes(std::span{identity}));
}

}  // namespace fastcache::press
