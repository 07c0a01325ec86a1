// SPDX-License-Identifier: Apache-2.0
// What the library throws when input from outside is wrong or the system refuses.
#pragma once

#include <stdexcept>
#include <string>

namespace fastcache {

enum class Code {
  bad_request,       // a parameter is wrong: name it and say what is right
  not_found,         // file, model or method does not exist
  unsupported,       // well-formed, but this build or model cannot do it
  invalid_model,     // the model file is broken or hostile
  context_too_long,  // more tokens than the model or the pool can hold
  pool_too_small,    // the KV pool cannot hold even this one request
  io,                // the operating system refused
  unauthorized,      // missing or wrong key
  overloaded,        // queue full, try later
  cancelled,         // the caller asked to stop
  internal,          // a fault of ours that we could still report
};

class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  Code code() const { return code_; }

 private:
  Code code_;
};

}  // namespace fastcache
