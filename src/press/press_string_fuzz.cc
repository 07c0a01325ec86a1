// SPDX-License-Identifier: Apache-2.0
// Any text: it is refused with Error, or its identity is a text that means the same.
#include <cstdlib>

#include "base/error.h"
#include "press/press_string.h"
#include "press/registry.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fastcache;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::string identity;
  try {
    identity = press::press_identity(press::parse_press(text));
  } catch (const Error& error) {
    if (error.code() == Code::internal || error.what()[0] == '\0') std::abort();
    return 0;
  }
  if (press::press_identity(press::parse_press(identity)) != identity) std::abort();
  return 0;
}
