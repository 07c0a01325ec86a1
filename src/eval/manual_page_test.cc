// SPDX-License-Identifier: Apache-2.0
#include "eval/manual_page.h"

#include <gtest/gtest.h>

#include <random>

#include "base/test_seed.h"

namespace fastcache::eval {
namespace {

TEST(ManualPage, WordsStayTypesettingGoes) {
  EXPECT_EQ(plain_manual(".\\\" a comment\n"
                         ".TH LS 1 \"May 2025\" GNU\n"
                         ".SH NAME\n"
                         "ls \\- list \\fBdirectory\\fR \\f(CWcontents\\fP\n"
                         ".nh\n"
                         ".B \\-\\-all\n"
                         ".BR dir (1),\n"
                         ".RI [ FILE ]...\n"),
            "LS 1 May 2025 GNU\n\nNAME\nls - list directory contents\n--all\ndir(1),\n[FILE]...\n");
}

TEST(ManualPage, EscapesAreCharactersOrNothing) {
  EXPECT_EQ(plain_manual("a\\e\\&b \\(bu c\\[aq]d\\[unknown]\\s-1E\\s0 \\*(PNx\\ y \\\" rest\n"),
            "a\\b * c'dE x y \n");
}

TEST(ManualPage, DefinitionsVanish) {
  EXPECT_EQ(plain_manual(".de Sp\n.if t .sp .5v\nsome text\n..\n.ig\nhidden\n..\nshown\n"), "shown\n");
}

TEST(ManualPage, AnyBytes) {
  std::mt19937_64 random(test_seed());
  constexpr std::string_view kBytes = ".\\\"'[(fs*n-+0BRSH \n\tx]";
  for (int i = 0; i < 2000; ++i) {
    std::string roff;
    for (int j = 0; j < 40; ++j) roff += kBytes[random() % kBytes.size()];
    EXPECT_LE(plain_manual(roff).size(), 3 * roff.size() + 2) << roff;
  }
  EXPECT_EQ(plain_manual(""), "");
  EXPECT_EQ(plain_manual("\\"), "\n");
  EXPECT_EQ(plain_manual("\\["), "\n");
  EXPECT_EQ(plain_manual("\\("), "\n");
}

}  // namespace
}  // namespace fastcache::eval
