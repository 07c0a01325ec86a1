// SPDX-License-Identifier: Apache-2.0
#include "server/testing/request_bodies.h"

namespace fastcache::server::test_support {

std::string body_with(Endpoint endpoint, const std::string& fields) {
  const std::string least = endpoint == Endpoint::chat ? R"("messages":[{"role":"user","content":"hello"}])"
                                                       : R"("prompt":"hello")";
  return "{" + least + (fields.empty() ? "" : ",") + fields + "}";
}

std::vector<std::string> json_of_each_type() {
  return {"null",
          "true",
          "false",
          "0",
          "1",
          "-1",
          "0.5",
          "2147483647",
          "-2147483649",
          "1e300",
          "-1e300",
          "18446744073709551615",
          "\"\"",
          "\"text\"",
          "\"" + std::string(100'000, 'x') + "\"",
          "[]",
          "[null]",
          "[1]",
          "[\"a\"]",
          "[[]]",
          "[[1]]",
          "[{}]",
          "{}",
          R"({"type": 1})",
          R"({"a": {"b": []}})",
          R"({"type": "function", "function": 1})",
          R"({"type": "json_schema", "json_schema": {"schema": 1}})"};
}

}  // namespace fastcache::server::test_support
