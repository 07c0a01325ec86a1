// SPDX-License-Identifier: Apache-2.0
// Which vision encoder and adapter a command uses.
#pragma once

#include <string>

namespace fastcache::cli {

// What --mmproj and --lora mean beside -m: "none" is no encoder; nothing named is, for the embedded model
// alone, the encoder and the adapter that were made for it, where they are installed. Changes both to paths,
// or to "". Throws Error (bad_request) where an adapter is named for no encoder.
void choose_vision(const std::string& model, std::string& mmproj, std::string& lora);

}  // namespace fastcache::cli
