// SPDX-License-Identifier: Apache-2.0
// Our encoder against libmtmd's own way of encoding the same pictures with the same file, and what it says
// about files that are none of its own.
#include "model/vision_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mtmd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "image/testing/encoders.h"
#include "model/testing/tiny_mmproj.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using image::test_support::random_picture;
using test_support::TinyMmproj;

// A text model and an encoder for it.
class Files {
 public:
  explicit Files(const TinyMmproj& mmproj) {
    const bool mrope = mmproj.projector == "qwen2vl_merger";
    test_support::write_tiny_model(folder_.file("text.gguf"),
                                   {.n_layers = 1,
                                    .control_tokens = test_support::picture_markers(),
                                    .architecture = mrope ? "qwen2vl" : "llama"});
    test_support::write_tiny_mmproj(folder_.file("mmproj.gguf"), mmproj);
    vocab_.emplace(GgufFile(folder_.file("text.gguf")));
  }
  std::string mmproj() const { return folder_.file("mmproj.gguf"); }
  std::string file(const char* name) const { return folder_.file(name); }
  const Vocab& vocab() const { return *vocab_; }

 private:
  test_support::TemporaryFolder folder_;
  std::optional<Vocab> vocab_;
};

// What a user of libmtmd does.
std::vector<float> by_libmtmd(const Files& files, const Picture& picture) {
  mtmd_context_params params = mtmd_context_params_default();
  params.use_gpu = false;
  params.print_timings = false;
  params.n_threads = 1;
  params.warmup = false;
  const mtmd::context_ptr context(mtmd_init_from_file(files.mmproj().c_str(), files.vocab().llama(), params));
  if (!context) throw std::runtime_error("libmtmd does not take the file");
  const mtmd::bitmap_ptr bitmap(mtmd_bitmap_init(static_cast<uint32_t>(picture.width),
                                                 static_cast<uint32_t>(picture.height), picture.rgb.data()));
  const mtmd_bitmap* bitmaps[] = {bitmap.get()};
  const std::string marker = mtmd_default_marker();
  const mtmd_input_text text{
      .text = marker.c_str(), .text_len = marker.size(), .add_special = false, .parse_special = true};
  const mtmd::input_chunks_ptr chunks(mtmd_input_chunks_init());
  EXPECT_EQ(mtmd_tokenize(context.get(), chunks.get(), &text, bitmaps, 1), 0);
  std::vector<float> all;
  for (size_t i = 0; i < mtmd_input_chunks_size(chunks.get()); ++i) {
    const mtmd_input_chunk* chunk = mtmd_input_chunks_get(chunks.get(), i);
    if (mtmd_input_chunk_get_type(chunk) != MTMD_INPUT_CHUNK_TYPE_IMAGE) continue;
    EXPECT_EQ(mtmd_encode_chunk(context.get(), chunk), 0);
    const float* from = mtmd_get_output_embd(context.get());
    all.insert(all.end(), from, from + mtmd_input_chunk_get_n_tokens(chunk) * 64);
  }
  return all;
}

class EveryProjector : public testing::TestWithParam<const char*> {};

TEST_P(EveryProjector, EmbeddingsAreThoseOfLibmtmd) {
  const Files files({.projector = GetParam()});
  VisionEncoder encoder(files.mmproj(), files.vocab(), 64);
  ComputePool pool(2);
  const uint64_t seed = test_seed();
  for (const auto& [width, height] : {std::pair<int, int>{32, 32}, {50, 37}, {17, 90}, {1, 1}}) {
    const Picture picture = random_picture(width, height, seed);
    const PictureView view = view_of(picture);
    const EncodedPicture ours = std::move(encoder.encode(std::span(&view, 1), pool).front());
    EXPECT_EQ(ours.embeddings.size(), static_cast<size_t>(ours.layout.n_image_tokens()) * 64);
    EXPECT_EQ(ours.embeddings, by_libmtmd(files, picture)) << width << " x " << height;
  }
}

TEST_P(EveryProjector, SizeAloneTellsTheLayout) {
  const Files files({.projector = GetParam()});
  VisionEncoder encoder(files.mmproj(), files.vocab(), 64);
  ComputePool pool(1);
  std::mt19937_64 random(test_seed());
  int n_encoded = 0;
  for (int round = 0; round < 12; ++round) {
    const int width = 1 + static_cast<int>(random() % 150);
    const int height = 1 + static_cast<int>(random() % 150);
    const Picture picture = random_picture(width, height, random());
    const PictureView view = view_of(picture);
    std::optional<PictureLayout> layout;
    try {
      layout = encoder.layout(width, height);
    } catch (const Error&) {  // a strip that its preprocessing would scale to nothing
      EXPECT_THROW(encoder.encode(std::span(&view, 1), pool), Error) << width << " x " << height;
      continue;
    }
    ++n_encoded;
    const EncodedPicture encoded = std::move(encoder.encode(std::span(&view, 1), pool).front());
    ASSERT_EQ(layout->chunks.size(), encoded.layout.chunks.size()) << width << " x " << height;
    for (size_t i = 0; i < layout->chunks.size(); ++i) {
      EXPECT_EQ(layout->chunks[i].text, encoded.layout.chunks[i].text);
      EXPECT_EQ(layout->chunks[i].nx, encoded.layout.chunks[i].nx);
      EXPECT_EQ(layout->chunks[i].ny, encoded.layout.chunks[i].ny);
      EXPECT_EQ(layout->chunks[i].n_positions, encoded.layout.chunks[i].n_positions);
    }
  }
  EXPECT_GT(n_encoded, 5) << "sizes of a few pixels are rare";
}

TEST_P(EveryProjector, CompanionsAndThreadsChangeNothing) {
  const Files files({.projector = GetParam()});
  VisionEncoder encoder(files.mmproj(), files.vocab(), 64);
  ComputePool one(1), two(2);
  const uint64_t seed = test_seed();
  std::vector<Picture> pictures;
  for (uint64_t i = 0; i < 5; ++i)
    pictures.push_back(random_picture(40, 30 + 10 * static_cast<int>(i % 2), seed + i));
  std::vector<PictureView> views;
  for (const Picture& picture : pictures) views.push_back(view_of(picture));
  const std::vector<EncodedPicture> together = encoder.encode(views, two);
  for (size_t i = 0; i < views.size(); ++i) {
    EXPECT_EQ(encoder.encode(std::span(&views[i], 1), one).front().embeddings, together[i].embeddings) << i;
  }
}

TEST_P(EveryProjector, SlicesChangeNothing) {
  const Files files({.projector = GetParam()});
  const Picture picture = random_picture(60, 45, test_seed());
  const PictureView view = view_of(picture);
  ComputePool pool(2);
  const auto encode = [&](double slice_cost, int& n_slices) {
    VisionEncoder encoder(files.mmproj(), files.vocab(), 64, slice_cost);
    n_slices = 0;
    auto encoded = encoder.encode(std::span(&view, 1), [&](ggml_cgraph* slice) {
      ++n_slices;
      pool.compute(slice);
      return true;
    });
    return std::move(encoded->front().embeddings);
  };
  int one = 0, n_slices = 0;
  const std::vector<float> whole = encode(1e12, one);
  for (const double cost : {1.0, 777.0, 1e4, 3e5}) {
    EXPECT_EQ(encode(cost, n_slices), whole) << cost;
    EXPECT_GT(n_slices, one) << cost;
  }
}

TEST_P(EveryProjector, OddSizesAreAnErrorOrALayout) {
  const Files files({.projector = GetParam()});
  const VisionEncoder encoder(files.mmproj(), files.vocab(), 64);
  for (const auto& [width, height] :
       {std::pair<int, int>{0, 5}, {5, 0}, {-1, 4}, {1, 201}, {16385, 16385}, {20000, 20000}})
    EXPECT_THROW(encoder.layout(width, height), Error) << width << " x " << height;
  for (const auto& [width, height] : {std::pair<int, int>{1, 1}, {1, 60}, {60, 1}, {16384, 16384}})
    EXPECT_GT(encoder.layout(width, height).n_image_tokens(), 0) << width << " x " << height;
  const bool shrinks_to_nothing =
      std::string_view(GetParam()) == "idefics3";  // its longest side is 64 pixels
  for (const auto& [width, height] : {std::pair<int, int>{1, 200}, {200, 1}, {16384, 82}, {82, 16384}}) {
    if (shrinks_to_nothing) {
      EXPECT_THROW(encoder.layout(width, height), Error) << width << " x " << height;
    } else {
      EXPECT_GT(encoder.layout(width, height).n_image_tokens(), 0) << width << " x " << height;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryProjector, testing::Values("mlp", "idefics3", "gemma3", "qwen2vl_merger"));

TEST(VisionEncoder, LayoutsOfTheFamilies) {
  const auto layout = [](const char* projector, int width, int height) {
    const Files files({.projector = projector});
    return VisionEncoder(files.mmproj(), files.vocab(), 64).layout(width, height);
  };
  const PictureLayout llava = layout("mlp", 100, 50);
  ASSERT_EQ(llava.chunks.size(), 1u);
  EXPECT_EQ(llava.chunks[0].nx, 4);
  EXPECT_EQ(llava.chunks[0].ny, 4);

  const PictureLayout gemma = layout("gemma3", 100, 50);
  ASSERT_EQ(gemma.chunks.size(), 3u);
  EXPECT_EQ(gemma.chunks[0].text.size(), 1u);
  EXPECT_EQ(gemma.chunks[1].nx, 2);
  EXPECT_EQ(gemma.chunks[2].text.size(), 1u);

  const PictureLayout tiles = layout("idefics3", 64, 32);  // two tiles and the picture as a whole
  int n_images = 0;
  for (const PictureChunk& chunk : tiles.chunks) n_images += chunk.is_image() ? 1 : 0;
  EXPECT_EQ(n_images, 3);
  EXPECT_EQ(tiles.n_image_tokens(), 3 * 4);

  const PictureLayout qwen = layout("qwen2vl_merger", 160, 80);
  ASSERT_EQ(qwen.chunks.size(), 3u);
  EXPECT_EQ(qwen.chunks[1].nx, 10);
  EXPECT_EQ(qwen.chunks[1].ny, 5);
  EXPECT_EQ(qwen.chunks[1].n_positions, 10);
}

TEST(VisionEncoder, CanBeGivenUpInTheMiddle) {
  const Files files(TinyMmproj{});
  VisionEncoder encoder(files.mmproj(), files.vocab(), 64, 1e4);
  const Picture picture = random_picture(32, 32, 1);
  const PictureView view = view_of(picture);
  ComputePool pool(1);
  const auto whole = encoder.encode(std::span(&view, 1), pool);
  for (int n_run = 0; n_run < 3; ++n_run) {
    int left = n_run;
    EXPECT_FALSE(encoder.encode(std::span(&view, 1), [&](ggml_cgraph* slice) {
      pool.compute(slice);
      return left-- > 0;
    })) << n_run;
  }
  EXPECT_EQ(encoder.encode(std::span(&view, 1), pool).front().embeddings, whole.front().embeddings);
}

TEST(VisionEncoder, IdentityIsOfTheBytes) {
  const Files a({.seed = 1}), same({.seed = 1}), b({.seed = 2});
  const auto identity = [](const Files& files) {
    return VisionEncoder(files.mmproj(), files.vocab(), 64).identity();
  };
  EXPECT_EQ(identity(a), identity(same));
  EXPECT_NE(identity(a), identity(b));
}

void expect_error(const std::function<void()>& open, Code code, const std::string& part) {
  try {
    open();
    FAIL() << "no error; expected: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(part));
  }
}

TEST(VisionEncoder, SaysWhatIsWrongWithAFile) {
  const Files files(TinyMmproj{});
  const auto open = [&](const std::string& path, int width = 64) {
    return [&files, path, width] { VisionEncoder(path, files.vocab(), width); };
  };
  expect_error(open(files.file("none.gguf")), Code::not_found, "none.gguf");
  expect_error(open(files.file("text.gguf")), Code::invalid_model, "'llama'");
  expect_error(open(files.mmproj(), 96), Code::bad_request, "width 64");
  test_support::write_tiny_mmproj(files.file("ldp.gguf"), {.projector = "ldp"});
  expect_error(open(files.file("ldp.gguf")), Code::unsupported, "'ldp'");
  for (const char* tensor : {"mm.2.weight", "mm.0.weight", "v.patch_embd.weight", "v.blk.1.ffn_up.weight",
                             "v.position_embd.weight", "v.blk.0.attn_q.weight"}) {
    test_support::write_tiny_mmproj(files.file("broken.gguf"), {.missing_tensor = tensor});
    EXPECT_THROW(open(files.file("broken.gguf"))(), Error) << tensor;
  }
  test_support::write_tiny_mmproj(files.file("qwen.gguf"), {.projector = "qwen2vl_merger"});
  expect_error(open(files.file("qwen.gguf")), Code::bad_request, "M-RoPE");
}

TEST(VisionEncoder, NeedsTheMarkersInTheVocabulary) {
  const test_support::TemporaryFolder folder;
  test_support::write_tiny_model(folder.file("text.gguf"), {.n_layers = 1});
  const Vocab vocab{GgufFile(folder.file("text.gguf"))};
  test_support::write_tiny_mmproj(folder.file("m.gguf"), {.projector = "gemma3"});
  expect_error([&] { VisionEncoder(folder.file("m.gguf"), vocab, 64); }, Code::bad_request,
               "<start_of_image>");
}

TEST(VisionEncoder, TruncatedAndDamagedFilesAreErrors) {
  const Files files(TinyMmproj{});
  std::ifstream in(files.mmproj(), std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 6; ++round) {
    std::string broken = whole.substr(0, random() % whole.size());
    std::ofstream(files.file("b.gguf"), std::ios::binary) << broken;
    EXPECT_THROW(VisionEncoder(files.file("b.gguf"), files.vocab(), 64), Error) << broken.size();
  }
}

}  // namespace
}  // namespace fastcache::model
