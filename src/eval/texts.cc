// SPDX-License-Identifier: Apache-2.0
#include "eval/texts.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "eval/manual_page.h"
#include "eval/text_file.h"
#include "model/utf8.h"

namespace fastcache::eval {
namespace {

namespace fs = std::filesystem;
using ReadText = std::function<std::string(const std::string&)>;

// Of one text at most so much is looked at: about four times the longest that is ever needed.
constexpr size_t kMostBytes = 256 * 1024;
constexpr size_t kLeastBytesPerToken = 2;

struct Candidates {  // of one kind
  std::vector<std::string> paths{};
  ReadText read;
  size_t next = 0;
};

void shuffle(std::vector<std::string>& paths, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (size_t i = paths.size(); i > 1; --i) std::swap(paths[i - 1], paths[random() % i]);
}

// A piece of n tokens that begins with a line where it can, behind the model's first token.
Tokens piece(const model::Vocab& vocab, const Tokens& tokens, int n, uint64_t seed) {
  const size_t wanted = static_cast<size_t>(n) - (vocab.adds_bos() ? 1 : 0);
  const size_t last_begin = tokens.size() - wanted;
  size_t begin = last_begin == 0 ? 0 : std::mt19937_64(seed)() % (last_begin + 1);
  while (begin > 0 && !vocab.piece(tokens[begin - 1]).ends_with('\n')) --begin;
  Tokens made;
  if (vocab.adds_bos()) made.push_back(*vocab.bos());
  made.insert(made.end(), tokens.begin() + static_cast<std::ptrdiff_t>(begin),
              tokens.begin() + static_cast<std::ptrdiff_t>(begin + wanted));
  return made;
}

class Drawer {
 public:
  Drawer(const model::Vocab& vocab, const TextWish& wish) : vocab_(vocab), wish_(wish) {}

  bool has_enough() const { return static_cast<int>(drawn_.size()) >= wish_.n; }
  int longest() const { return longest_; }
  std::vector<TokenText> take() { return std::move(drawn_); }

  bool offer(const std::string& name, const std::string& text) {
    if (text.size() < static_cast<size_t>(wish_.min_tokens)) {  // no token is shorter than a byte
      longest_ = std::max(longest_, static_cast<int>(text.size() / 4));
      return false;
    }
    const Tokens tokens = vocab_.tokenize(text, {});
    const int n = static_cast<int>(tokens.size()) + (vocab_.adds_bos() ? 1 : 0);
    longest_ = std::max(longest_, n);
    if (n < wish_.min_tokens) return false;
    drawn_.push_back({name, piece(vocab_, tokens, wish_.min_tokens, wish_.seed + drawn_.size())});
    return true;
  }

 private:
  const model::Vocab& vocab_;
  TextWish wish_;
  std::vector<TokenText> drawn_;
  int longest_ = 0;
};

bool is_long_enough(const std::string& path, int min_tokens) {
  std::error_code error;
  const uintmax_t bytes = fs::file_size(path, error);
  const size_t packed = path.ends_with(".gz") ? 6 : 1;
  return !error && bytes * packed >= static_cast<size_t>(min_tokens) * kLeastBytesPerToken;
}

std::string plain_text(const std::string& path) { return read_text(path, kMostBytes); }
std::string manual_text(const std::string& path) { return plain_manual(read_text(path, kMostBytes)); }

std::vector<Candidates> system_candidates(const SystemFolders& folders, int min_tokens) {
  std::vector<Candidates> kinds(3);
  kinds[0].read = kinds[2].read = plain_text;
  kinds[1].read = manual_text;
  kinds[0].paths = files_below(folders.licences);
  for (const std::string& path : files_below(folders.manuals))  // but for translations: man/de/man1/...
    if (path.starts_with(folders.manuals + "/man")) kinds[1].paths.push_back(path);
  for (const std::string& path : files_below(folders.documents)) {
    const std::string name = fs::path(path).filename().string();
    if (name == "copyright") kinds[0].paths.push_back(path);
    if (name.starts_with("changelog") || name.starts_with("NEWS")) kinds[2].paths.push_back(path);
  }
  for (Candidates& kind : kinds)
    std::erase_if(kind.paths, [&](const std::string& path) { return !is_long_enough(path, min_tokens); });
  return kinds;
}

// One of each kind in turn, for as long as there are any.
void draw(std::vector<Candidates>& kinds, Drawer& drawer) {
  for (bool any = true; any;) {
    any = false;
    for (Candidates& kind : kinds) {
      bool taken = false;
      while (!taken && kind.next < kind.paths.size()) {
        if (drawer.has_enough()) return;
        const std::string& path = kind.paths[kind.next++];
        taken = drawer.offer(path, kind.read(path));
      }
      any = any || taken;
    }
  }
}

std::vector<Text> json_lines(const std::string& path) {
  std::vector<Text> texts;
  std::ifstream file(path);
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto json = nlohmann::json::parse(line, nullptr, false);
    const auto text = json.is_object() ? json.find("text") : json.end();
    if (!json.is_object() || text == json.end() || !text->is_string())
      throw Error{Code::bad_request,
                  fmt::format("{}, line {}: it must be a JSON object with \"text\", a string", path, number)};
    texts.push_back({fmt::format("{}:{}", path, number), text->get<std::string>().substr(0, kMostBytes)});
    const auto broken = model::find_invalid_utf8(texts.back().text);
    if (broken) texts.back().text.resize(*broken);  // the cut; the parser has checked the rest
  }
  return texts;
}

std::vector<std::string> user_paths(const std::string& path) {
  std::error_code error;
  const fs::file_type type = fs::status(path, error).type();
  if (type == fs::file_type::directory) return files_below(path);
  if (type == fs::file_type::regular) return {path};
  throw Error{Code::not_found, fmt::format("--data {}: there is no such file or folder", path)};
}

}  // namespace

std::vector<TokenText> system_texts(const model::Vocab& vocab, const TextWish& wish,
                                    const SystemFolders& folders) {
  std::vector<Candidates> kinds = system_candidates(folders, wish.min_tokens);
  for (Candidates& kind : kinds) shuffle(kind.paths, wish.seed);
  Drawer drawer(vocab, wish);
  draw(kinds, drawer);
  std::vector<TokenText> drawn = drawer.take();
  if (drawn.empty())
    throw Error{Code::not_found,
                fmt::format("no text of at least {} tokens lies in {}, {} or {}; name a folder or a .jsonl "
                            "file of yours with --data, or lower --context",
                            wish.min_tokens, folders.licences, folders.manuals, folders.documents)};
  return drawn;
}

std::vector<TokenText> user_texts(const std::string& path, const model::Vocab& vocab, const TextWish& wish) {
  Drawer drawer(vocab, wish);
  size_t n_texts = 0;
  if (path.ends_with(".jsonl")) {
    user_paths(path);
    std::vector<Text> texts = json_lines(path);
    n_texts = texts.size();
    std::mt19937_64 random(wish.seed);
    for (size_t i = texts.size(); i > 1; --i) std::swap(texts[i - 1], texts[random() % i]);
    for (size_t i = 0; i < texts.size() && !drawer.has_enough(); ++i)
      drawer.offer(texts[i].name, texts[i].text);
  } else {
    std::vector<std::string> paths = user_paths(path);
    shuffle(paths, wish.seed);
    for (size_t i = 0; i < paths.size() && !drawer.has_enough(); ++i) {
      const std::string text = plain_text(paths[i]);
      n_texts += text.empty() ? 0 : 1;
      drawer.offer(paths[i], text);
    }
  }
  std::vector<TokenText> drawn = drawer.take();
  if (n_texts == 0) throw Error{Code::bad_request, fmt::format("--data {}: there is no text in it", path)};
  if (drawn.empty())
    throw Error{
        Code::bad_request,
        fmt::format("--data {}: of {} texts none has {} tokens, the longest about {}; lower --context "
                    "or --continuation, or give longer texts",
                    path, n_texts, wish.min_tokens, drawer.longest())};
  return drawn;
}

}  // namespace fastcache::eval
