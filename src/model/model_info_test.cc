// SPDX-License-Identifier: Apache-2.0
#include "model/model_info.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/models.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

TEST(ModelInfo, DescribesTheEmbeddedModel) {
  const ModelInfo info = model_info(GgufFile(default_model().string()));
  EXPECT_EQ(info.architecture, "llama");
  EXPECT_THAT(info.name, ::testing::HasSubstr("135M"));
  EXPECT_EQ(info.parameters, 134515008u);  // as the model card counts
  ASSERT_TRUE(info.hparams.has_value());
  EXPECT_EQ(info.types.front().type, GGML_TYPE_Q4_1);
  // 30 layers, 3 KV heads of 64 channels, K and V
  EXPECT_EQ(kv_bytes_per_token(*info.hparams, kv::KvType::f32), 30u * 3 * 64 * 2 * 4);
  EXPECT_EQ(kv_bytes_per_token(*info.hparams, kv::KvType::bf16), 30u * 3 * 64 * 2 * 2);
  EXPECT_EQ(kv_bytes_per_token(*info.hparams, kv::KvType::int8), 30u * 3 * (64 * 2 + 8));
  EXPECT_EQ(kv_tokens_in(*info.hparams, kv::KvType::bf16, 90 * 4096 - 1), 0u);
  EXPECT_EQ(kv_tokens_in(*info.hparams, kv::KvType::bf16, 90 * 4096), 16u);
}

TEST(ModelInfo, SaysWhyAModelCannotRun) {
  const test_support::TemporaryFolder folder;
  test_support::write_tiny_model(folder.file("m.gguf"), {.architecture = "mamba"});
  const ModelInfo info = model_info(GgufFile(folder.file("m.gguf")));
  EXPECT_EQ(info.architecture, "mamba");
  EXPECT_FALSE(info.hparams.has_value());
  EXPECT_THAT(info.why_not, ::testing::HasSubstr("'mamba' is not supported; supported: llama"));
}

}  // namespace
}  // namespace fastcache::model
