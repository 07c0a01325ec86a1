// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <gtest/gtest.h>

#include <set>

namespace fastcache {

TEST(Error, EveryCodeHasItsOwnNameAndExitCode) {
  std::set<std::string> names;
  std::set<int> exit_codes;
  const int last = static_cast<int>(Code::internal);
  for (int i = 0; i <= last; ++i) {
    const Code code = static_cast<Code>(i);
    EXPECT_TRUE(names.insert(code_name(code)).second) << code_name(code);
    EXPECT_TRUE(exit_codes.insert(exit_code(code)).second) << code_name(code);
    EXPECT_GE(exit_code(code), 2);
    EXPECT_GE(http_status(code), 400);
    EXPECT_NE(openai_error_type(code), nullptr);
  }
}

TEST(Error, CarriesItsSentence) {
  const Error error{Code::not_found, "model file /x does not exist"};
  EXPECT_STREQ(error.what(), "model file /x does not exist");
  EXPECT_EQ(error.code(), Code::not_found);
}

}  // namespace fastcache
