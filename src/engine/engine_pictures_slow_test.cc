// SPDX-License-Identifier: Apache-2.0
// A running answer beside pictures that are being encoded, with the embedded model and an encoder of the size
// of ViT-S (random weights): its tokens go on. Prints what each waits for.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "fastcache/engine.h"
#include "image/testing/encoders.h"
#include "model/models.h"
#include "model/testing/tiny_mmproj.h"
#include "model/testing/tiny_model.h"

namespace fastcache {
namespace {

using Clock = std::chrono::steady_clock;

double ms_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double, std::milli>(b - a).count();
}

std::shared_ptr<const Picture> picture(uint64_t seed) {
  return std::make_shared<const Picture>(image::test_support::random_picture(224, 224, seed));
}

Request text(int max_tokens) {
  Request made{.prompt = "Once upon a time", .max_tokens = max_tokens};
  made.sampling.ignore_eos = true;
  return made;
}

Request with_pictures(int n, uint64_t seed) {
  Request made{.tokens = {1}, .max_tokens = 1};
  for (int i = 0; i < n; ++i) {
    made.tokens.push_back(kPictureToken);
    made.pictures.push_back(picture(seed + static_cast<uint64_t>(i)));
  }
  made.tokens.push_back(30);
  return made;
}

void print_gaps(const char* what, std::vector<double> gaps_ms) {
  if (gaps_ms.empty()) return;
  std::sort(gaps_ms.begin(), gaps_ms.end());
  std::printf("%s: %zu tokens, between two of them median %.1f ms, 95 %% %.1f, most %.1f\n", what,
              gaps_ms.size(), gaps_ms[gaps_ms.size() / 2], gaps_ms[gaps_ms.size() * 95 / 100],
              gaps_ms.back());
}

double wait_for_end(Answer& answer) {
  const auto start = Clock::now();
  while (answer.next()) {
  }
  return ms_between(start, Clock::now());
}

TEST(EncodingBesideDecoding, RunningAnswersGoOn) {
  const model::test_support::TemporaryFolder folder;
  model::test_support::write_tiny_mmproj(folder.file("vit-s.gguf"), {.text_width = 576,
                                                                     .n_layers = 12,
                                                                     .n_embd = 384,
                                                                     .n_ff = 1536,
                                                                     .n_heads = 6,
                                                                     .image_size = 224,
                                                                     .patch_size = 16});
  Engine engine({.model = model::default_model().string(),
                 .pool_bytes = size_t{256} << 20,
                 .mmproj = folder.file("vit-s.gguf")});
  constexpr int kPictures = 8;

  const auto alone = engine.submit(with_pictures(kPictures, 1));
  const double alone_ms = wait_for_end(*alone);
  std::printf("nothing else running: %d pictures encoded after %.0f ms, first token after %.0f ms\n",
              kPictures, alone->summary().encode_ms, alone_ms);

  const auto running = engine.submit(text(600));
  std::vector<double> before, beside;
  std::shared_ptr<Answer> pictures;
  auto last = Clock::now();
  bool first = true;
  while (auto delta = running->next()) {
    const auto now = Clock::now();
    if (!first) (pictures == nullptr ? before : beside).push_back(ms_between(last, now));
    first = false;
    last = now;
    if (before.size() == 60 && pictures == nullptr) pictures = engine.submit(with_pictures(kPictures, 100));
    Delta ended;
    if (pictures != nullptr && pictures->poll(ended) != Answer::Poll::nothing) break;
  }
  ASSERT_NE(pictures, nullptr);
  running->cancel();
  wait_for_end(*pictures);
  print_gaps("no pictures about", before);
  print_gaps("pictures being encoded and prefilled", beside);
  std::printf("beside it: encoded after %.0f ms, first token after %.0f ms\n", pictures->summary().encode_ms,
              pictures->summary().ttft_ms);
  EXPECT_GE(beside.size(), 10u);  // it did not stand still
  EXPECT_EQ(engine.stats().pictures_encoded, 2 * kPictures);
}

}  // namespace
}  // namespace fastcache
