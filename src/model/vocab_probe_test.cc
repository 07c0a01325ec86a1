// SPDX-License-Identifier: Apache-2.0
// Files that are well-formed and still crash libllama, or whose bits were flipped: an Error or a working
// vocabulary.
#include "model/vocab_probe.h"

#include <gguf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <functional>
#include <random>

#include "base/error.h"
#include "model/chat_template.h"
#include "model/models.h"
#include "model/testing/tiny_model.h"
#include "model/vocab.h"

namespace fastcache::model {
namespace {

using ::testing::HasSubstr;

class VocabProbe : public ::testing::Test {
 protected:
  // A cache of its own: marks of real files must neither help nor be left behind.
  VocabProbe() { setenv("FASTCACHE_CACHE", folder_.file("cache").c_str(), 1); }
  ~VocabProbe() override { unsetenv("FASTCACHE_CACHE"); }

  std::string edited(const std::function<void(gguf_context*)>& edit,
                     const test_support::TinyModel& tiny = {}) {
    test_support::write_tiny_model(folder_.file("m.gguf"), tiny);
    gguf_context* from =
        gguf_init_from_file(folder_.file("m.gguf").c_str(), {.no_alloc = true, .ctx = nullptr});
    gguf_context* out = gguf_init_empty();
    gguf_set_kv(out, from);
    edit(out);
    gguf_write_to_file(out, folder_.file("e.gguf").c_str(), true);
    gguf_free(out);
    gguf_free(from);
    return folder_.file("e.gguf");
  }

  std::string refusal(const std::string& path) {
    try {
      const GgufFile file(path);
      probe_vocab(file, std::chrono::seconds(5));
      const Vocab vocab(file);
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == Code::invalid_model || error.code() == Code::unsupported) << error.what();
      return error.what();
    }
    return "accepted";
  }

  size_t n_marks() const {
    std::error_code none;
    size_t n = 0;
    for ([[maybe_unused]] const auto& mark :
         std::filesystem::directory_iterator(folder_.path() / "cache" / "probed", none))
      ++n;
    return n;
  }

  test_support::TemporaryFolder folder_;
};

TEST_F(VocabProbe, RemembersSuccessOnly) {
  const std::string good = edited([](gguf_context*) {});
  EXPECT_EQ(refusal(good), "accepted");
  EXPECT_EQ(n_marks(), 1u);
  EXPECT_EQ(refusal(good), "accepted");
  EXPECT_EQ(n_marks(), 1u);
  const std::string bad =
      edited([](gguf_context* g) { gguf_set_val_str(g, "tokenizer.ggml.model", "nonsense"); });
  EXPECT_THAT(refusal(bad), HasSubstr("e.gguf: the vocabulary cannot be loaded"));
  EXPECT_EQ(n_marks(), 1u);
}

TEST_F(VocabProbe, SurvivesHostileMetadata) {
  const int32_t number = 7;
  const char* two[] = {"a", "a"};
  struct Attack {
    const char* what;
    const char* says;  // part of the answer; empty: any answer will do
    std::function<void(gguf_context*)> edit;
  };
  const Attack attacks[] = {
      {"no tokens", "loaded", [](gguf_context* g) { gguf_remove_key(g, "tokenizer.ggml.tokens"); }},
      {"tokens are numbers", "loaded",
       [&](gguf_context* g) { gguf_set_arr_data(g, "tokenizer.ggml.tokens", GGUF_TYPE_INT32, &number, 1); }},
      {"tokens are one string", "loaded",
       [](gguf_context* g) { gguf_set_val_str(g, "tokenizer.ggml.tokens", "x"); }},
      {"the same token twice", "crashes the loader (llama-vocab.cpp",
       [&](gguf_context* g) { gguf_set_arr_str(g, "tokenizer.ggml.tokens", two, 2); }},
      {"too few scores", "loaded",
       [&](gguf_context* g) {
         gguf_set_arr_data(g, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, &number, 1);
       }},
      {"scores of another type", "loaded",
       [&](gguf_context* g) { gguf_set_arr_data(g, "tokenizer.ggml.scores", GGUF_TYPE_INT8, &number, 4); }},
      {"too few types", "loaded",
       [&](gguf_context* g) {
         gguf_set_arr_data(g, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, &number, 1);
       }},
      {"BPE without merges", "loaded",
       [](gguf_context* g) { gguf_set_val_str(g, "tokenizer.ggml.model", "gpt2"); }},
      {"WordPiece", "crashes", [](gguf_context* g) { gguf_set_val_str(g, "tokenizer.ggml.model", "bert"); }},
      {"Unigram", "", [](gguf_context* g) { gguf_set_val_str(g, "tokenizer.ggml.model", "t5"); }},
      {"RWKV", "", [](gguf_context* g) { gguf_set_val_str(g, "tokenizer.ggml.model", "rwkv"); }},
      {"no vocabulary", "no vocabulary",
       [](gguf_context* g) { gguf_set_val_str(g, "tokenizer.ggml.model", "no_vocab"); }},
      {"BOS out of range", "accepted",
       [](gguf_context* g) { gguf_set_val_u32(g, "tokenizer.ggml.bos_token_id", 1u << 31); }},
      {"EOS is text", "loaded",
       [](gguf_context* g) { gguf_set_val_str(g, "tokenizer.ggml.eos_token_id", "2"); }},
      {"template that does not parse", "chat template cannot be parsed",
       [](gguf_context* g) { gguf_set_val_str(g, "tokenizer.chat_template", "{% for x in %}{{"); }},
      {"template that nests deep", "crashes",
       [](gguf_context* g) {
         gguf_set_val_str(g, "tokenizer.chat_template", ("{{" + std::string(200000, '(')).c_str());
       }},
      {"template without end", "",
       [](gguf_context* g) {
         gguf_set_val_str(
             g, "tokenizer.chat_template",
             "{% for a in range(99999999) %}{% for b in range(99999999) %}{% endfor %}{% endfor %}");
       }},
      {"block count is text", "", [](gguf_context* g) { gguf_set_val_str(g, "llama.block_count", "x"); }},
      {"experts", "", [](gguf_context* g) { gguf_set_val_u32(g, "llama.expert_used_count", 3); }},
      {"rope scaling", "",
       [](gguf_context* g) { gguf_set_val_str(g, "llama.rope.scaling.type", "nonsense"); }},
  };
  for (const Attack& attack : attacks)
    EXPECT_THAT(refusal(edited(attack.edit)), HasSubstr(attack.says)) << attack.what;
}

TEST_F(VocabProbe, SurvivesBitFlips) {
  test_support::write_tiny_model(folder_.file("m.gguf"),
                                 {.n_layers = 1, .chat_template = "{{ messages[0].content }}"});
  std::ifstream in(folder_.file("m.gguf"), std::ios::binary);
  const std::string whole(std::istreambuf_iterator<char>(in), {});
  const size_t header = GgufFile(folder_.file("m.gguf")).header().size();
  std::mt19937 random(20261121);
  int accepted = 0;
  for (int round = 0; round < 200; ++round) {
    std::string broken = whole;
    for (int flips = 1 + round % 8; flips > 0; --flips)
      broken[random() % header] ^= static_cast<char>(1 << random() % 8);
    std::ofstream(folder_.file("b.gguf"), std::ios::binary) << broken;
    if (refusal(folder_.file("b.gguf")) == "accepted") ++accepted;
  }
  EXPECT_GT(accepted, 10);
}

}  // namespace
}  // namespace fastcache::model
