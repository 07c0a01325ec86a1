// SPDX-License-Identifier: Apache-2.0
// Runs a libFuzzer target without libFuzzer, so that every compiler and sanitizer can: its corpus, then
// mutations of the corpus for some seconds. It knows nothing of coverage; what libFuzzer finds goes into the
// corpus.
//   replay CORPUS_FOLDER SECONDS
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "base/test_seed.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Random = std::mt19937_64;

constexpr size_t kMostBytes = 8192;  // of a mutated input

const std::string* current = nullptr;  // for the handler of SIGABRT

// The target says no: shows the input, as a string literal that printf(1) takes.
void show_input(int) {
  std::fprintf(stderr, "failed with %zu bytes: ", current->size());
  for (const char c : *current) std::fprintf(stderr, "\\x%02x", static_cast<unsigned char>(c));
  std::fputc('\n', stderr);
  std::_Exit(1);
}

void run(const std::string& input) {
  current = &input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

std::vector<std::string> read_corpus(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());  // the same order everywhere: a seed means the same inputs
  std::vector<std::string> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

size_t below(size_t n, Random& random) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); }

std::string piece_of(const std::string& text, Random& random) {
  if (text.empty()) return {};
  const size_t at = below(text.size(), random);
  return text.substr(at, 1 + below(std::min<size_t>(text.size() - at, 64), random));
}

void mutate(std::string& input, const std::vector<std::string>& corpus, Random& random) {
  const size_t at = below(input.size() + 1, random);
  switch (below(6, random)) {
    case 0:  // a byte becomes another
      if (at < input.size()) input[at] = static_cast<char>(below(256, random));
      break;
    case 1:  // a bit
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8, random)));
      break;
    case 2:
      input.erase(at, 1 + below(32, random));
      break;
    case 3:  // a part once more, often elsewhere
      input.insert(at, piece_of(input, random));
      break;
    case 4:  // a part of another input
      input.insert(at, piece_of(corpus[below(corpus.size(), random)], random));
      break;
    default:  // a part many times: depth and length
      const std::string part = piece_of(input, random).substr(0, 8);
      for (size_t n = below(64, random); n > 0; --n) input.insert(at, part);
  }
  if (input.size() > kMostBytes) input.resize(kMostBytes);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("usage: replay CORPUS_FOLDER SECONDS\n", stderr), 2;
  const std::vector<std::string> corpus = read_corpus(argv[1]);
  if (corpus.empty()) return std::fprintf(stderr, "%s is empty\n", argv[1]), 2;
  std::signal(SIGABRT, show_input);
  for (const std::string& input : corpus) run(input);
  Random random(fastcache::test_seed());
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::atof(argv[2]));
  uint64_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    std::string input = corpus[below(corpus.size(), random)];
    for (size_t n = 1 + below(8, random); n > 0; --n) mutate(input, corpus, random);
    run(input);
  }
  std::printf("%zu inputs of the corpus, %llu mutations\n", corpus.size(),
              static_cast<unsigned long long>(runs));
  return 0;
}
