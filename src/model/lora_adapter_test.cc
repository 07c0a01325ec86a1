// SPDX-License-Identifier: Apache-2.0
// What is no adapter for this model is refused by name, and no damage to a file is trusted.
#include "model/lora_adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "model/testing/tiny_adapter.h"

namespace fastcache::model {
namespace {

using test_support::TinyAdapter;
using test_support::TinyModel;

class LoraFile : public testing::Test {
 protected:
  LoraFile() {
    test_support::write_tiny_model(folder_.file("tiny.gguf"), tiny_);
    hparams_ = read_hparams(GgufFile(folder_.file("tiny.gguf")));
  }

  std::string write(const TinyAdapter& adapter, const TinyModel& model) {
    test_support::write_tiny_adapter(folder_.file("adapter.gguf"), model, adapter);
    return folder_.file("adapter.gguf");
  }

  // What the refusal says; empty: it was loaded.
  std::string refusal(const TinyAdapter& adapter, Code expected) { return refusal(adapter, tiny_, expected); }
  std::string refusal(const TinyAdapter& adapter, const TinyModel& model, Code expected) {
    try {
      const LoraAdapter loaded(write(adapter, model), hparams_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), expected) << error.what();
      return error.what();
    }
    return "";
  }

  const TinyModel tiny_;
  test_support::TemporaryFolder folder_;
  HParams hparams_;
};

TEST_F(LoraFile, SaysWhatItAdapts) {
  const LoraAdapter all(write({.rank = 4}, tiny_), hparams_);
  EXPECT_EQ(all.n_matrices(), 14);
  EXPECT_EQ(all.hidden_width(), 48);  // q, k and v, each made 16 wide
  EXPECT_NE(all.layer(1).gate_up, nullptr);
  const LoraAdapter keys(write({.rank = 20, .parts = {"attn_k"}}, tiny_), hparams_);
  EXPECT_EQ(keys.n_matrices(), 2);
  EXPECT_EQ(keys.hidden_width(), 32);
  EXPECT_NE(keys.layer(0).qkv, nullptr);
  EXPECT_EQ(keys.layer(0).output, nullptr);
  EXPECT_EQ(keys.layer(0).gate_up, nullptr);
  EXPECT_EQ(keys.layer(0).down, nullptr);
  EXPECT_NE(keys.digest(), all.digest());
  EXPECT_EQ(keys.digest(), LoraAdapter(folder_.file("adapter.gguf"), hparams_).digest());
}

TEST_F(LoraFile, TakesThreeTypes) {
  for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16})
    EXPECT_EQ(LoraAdapter(write({.type = type}, tiny_), hparams_).n_matrices(), 14) << ggml_type_name(type);
  EXPECT_NE(refusal({.rank = 32, .type = GGML_TYPE_Q8_0}, Code::unsupported).find("f32, f16 or bf16"),
            std::string::npos);
}

TEST_F(LoraFile, RefusesWhatIsNoAdapter) {
  EXPECT_NE(refusal({.general_type = "model"}, Code::invalid_model).find("'model'"), std::string::npos);
  EXPECT_NE(refusal({.adapter_type = "ia3"}, Code::unsupported).find("'ia3'"), std::string::npos);
  EXPECT_NE(refusal({.parts = {}}, Code::invalid_model).find("no tensors"), std::string::npos);
  EXPECT_THROW(LoraAdapter(folder_.file("tiny.gguf"), hparams_), Error);
  EXPECT_THROW(LoraAdapter(folder_.file("none.gguf"), hparams_), Error);
}

TEST_F(LoraFile, RefusesAnotherModelsAdapter) {
  EXPECT_NE(refusal({.architecture = "qwen2"}, Code::bad_request).find("'qwen2'"), std::string::npos);
  TinyModel wider = tiny_, deeper = tiny_, more_heads = tiny_;
  wider.n_embd = 96;
  deeper.n_layers = 3;
  more_heads.n_kv_heads = 4;
  EXPECT_NE(refusal({}, wider, Code::bad_request).find("[64, rank]"), std::string::npos);
  EXPECT_NE(refusal({}, deeper, Code::unsupported).find("blk.2."), std::string::npos);
  EXPECT_NE(refusal({}, more_heads, Code::bad_request).find("[4, 32]"), std::string::npos);
}

TEST_F(LoraFile, RefusesWhatItCannotApply) {
  for (const char* name : {"token_embd.weight.lora_a", "output.weight.lora_b", "blk.0.attn_norm.weight",
                           "blk.0.attn_q.weight", "blk.0.attn_q.bias.lora_a", "blk.0.attn_q.weight.lora_c",
                           "blk.00.attn_q.weight.lora_a", "blk.-1.attn_q.weight.lora_a"})
    EXPECT_NE(refusal({.more = name}, Code::unsupported).find(name), std::string::npos) << name;
}

TEST_F(LoraFile, RefusesHalfAPair) {
  for (const char* name : {"blk.1.attn_v.weight.lora_a", "blk.0.ffn_down.weight.lora_b"})
    EXPECT_NE(refusal({.left_out = name}, Code::invalid_model).find(name), std::string::npos) << name;
}

TEST_F(LoraFile, RefusesRanks) {
  EXPECT_NE(refusal({.rank = 1025, .parts = {"attn_q"}}, Code::invalid_model).find("rank 1025"),
            std::string::npos);
  EXPECT_EQ(refusal({.rank = 1024, .parts = {"attn_q"}}, Code::invalid_model), "");
}

TEST_F(LoraFile, RefusesNumbersThatAreNotFinite) {
  for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16}) {
    for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")})
      EXPECT_NE(refusal({.type = type, .first_number = bad}, Code::invalid_model).find("not finite"),
                std::string::npos);
  }
  EXPECT_NE(refusal({.alpha = std::nanf("")}, Code::invalid_model), "");
  EXPECT_NE(refusal({.alpha = 1e38f, .first_number = 1e10f}, Code::invalid_model).find("overflow"),
            std::string::npos);
}

// A file cut anywhere is refused; one with other bytes is refused or loaded, with numbers that are finite.
TEST_F(LoraFile, NoDamageIsTrusted) {
  std::string whole;
  {
    std::ifstream in(write({.rank = 2, .parts = {"attn_q", "ffn_up"}}, tiny_), std::ios::binary);
    whole.assign(std::istreambuf_iterator<char>(in), {});
  }
  std::mt19937_64 random(test_seed());
  const std::string path = folder_.file("damaged.gguf");
  const auto loads = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    try {
      const LoraAdapter loaded(path, hparams_);
      const std::vector<float> x(static_cast<size_t>(hparams_.n_embd), 0.0f);
      std::vector<float> hidden(static_cast<size_t>(loaded.hidden_width()), 1.0f);
      const float* from = x.data();
      float* to = hidden.data();
      if (const linear::LowRank* qkv = loaded.layer(0).qkv) {
        qkv->reduce({&from, 1}, {&to, 1});
        EXPECT_EQ(hidden[0], 0.0f) << "seed " << test_seed();
      }
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  ASSERT_TRUE(loads(whole));
  for (int i = 0; i < 100; ++i)
    EXPECT_FALSE(loads(whole.substr(0, random() % whole.size()))) << "seed " << test_seed();
  const size_t header = whole.size() / 3;  // keys and names stand there
  for (int i = 0; i < 300; ++i) {
    std::string damaged = whole;
    for (size_t n = 1 + random() % 3; n > 0; --n)
      damaged[random() % (i % 2 == 0 ? header : damaged.size())] = static_cast<char>(random());
    loads(damaged);
  }
}

}  // namespace
}  // namespace fastcache::model
