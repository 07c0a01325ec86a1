// SPDX-License-Identifier: Apache-2.0
#include "model/chat_answer.h"

#include <algorithm>
#include <random>
#include <string_view>

namespace fastcache::model {
namespace {

// The rules recurse once for each bracket of JSON. Counted without regard to strings, so it is generous.
constexpr int kMaxOpenBrackets = 200;

// Below it every push is read.
constexpr size_t kReadEachBytes = size_t{8} << 10;

std::string random_call_id() {
  static constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  std::random_device random;
  std::uniform_int_distribution<size_t> letter(0, kLetters.size() - 1);
  std::string id = "call_";
  for (int i = 0; i < 24; ++i) id += kLetters[letter(random)];
  return id;
}

class ContentParser final : public ChatParser {
 public:
  std::vector<ChatDelta> push(const std::string& text) override {
    if (text.empty()) return {};
    return {{.content = text}};
  }
  std::vector<ChatDelta> finish() override { return {}; }
  bool has_tool_calls() const override { return false; }
};

class AnswerParser final : public ChatParser {
 public:
  explicit AnswerParser(std::shared_ptr<const AnswerFormat> format) : format_(std::move(format)) {}

  std::vector<ChatDelta> push(const std::string& text) override {
    if (text.empty()) return {};
    if (left_rules_) return {{.content = text}};
    text_ += text;
    if (!is_time_to_read()) return {};
    return read_on();
  }

  std::vector<ChatDelta> finish() override {
    if (left_rules_ || text_.empty()) return {};
    std::vector<ChatDelta> deltas = read_on();
    if (left_rules_) return deltas;
    const ReadAnswer read = read_answer(*format_, text_);
    // What was begun and never ended: a call without a name, the first letters of a tag.
    if (!read.complete && (said_.tool_calls.empty() || read.call_begun)) add_rest(read.covered, deltas);
    left_rules_ = true;
    return deltas;
  }

  bool has_tool_calls() const override { return !said_.tool_calls.empty(); }

 private:
  bool is_time_to_read() const {
    return text_.size() < kReadEachBytes || text_.size() - read_bytes_ >= text_.size() / 128;
  }

  std::vector<ChatDelta> read_on() {
    std::vector<ChatDelta> deltas;
    const ReadAnswer read = read_up_to(text_.size());
    read_bytes_ = text_.size();
    if (read.failed) {
      leave_rules(deltas);
    } else {
      good_bytes_ = text_.size();
      say(read.message, deltas);
    }
    return deltas;
  }

  ReadAnswer read_up_to(size_t n_bytes) const {
    if (too_deep(n_bytes)) {
      ReadAnswer read;
      read.failed = true;
      return read;
    }
    return read_answer(*format_, n_bytes == text_.size() ? text_ : text_.substr(0, n_bytes));
  }

  bool too_deep(size_t n_bytes) const {
    int open = 0;
    for (const char c : std::string_view(text_).substr(0, n_bytes)) {
      if (c == '{' || c == '[') ++open;
      if ((c == '}' || c == ']') && open > 0) --open;
      if (open > kMaxOpenBrackets) return true;
    }
    return false;
  }

  // A text that breaks the rules at some byte breaks them with all that follows: the longest beginning that
  // does not is found by halving. So it does not matter how the text was cut.
  void leave_rules(std::vector<ChatDelta>& deltas) {
    size_t good = good_bytes_, bad = text_.size();
    while (bad - good > 1) {
      const size_t middle = good + (bad - good) / 2;
      (read_up_to(middle).failed ? bad : good) = middle;
    }
    while (good > 0 && (static_cast<unsigned char>(text_[good]) & 0xC0) == 0x80) --good;
    const ReadAnswer read = read_up_to(good);
    say(read.message, deltas);
    add_rest(said_.tool_calls.empty() || read.call_begun ? read.covered : good, deltas);
    left_rules_ = true;
  }

  void add_rest(size_t from, std::vector<ChatDelta>& deltas) {
    if (from < text_.size()) deltas.push_back({.content = text_.substr(from)});
  }

  // What is new in the message since the last time.
  void say(const common_chat_msg& message, std::vector<ChatDelta>& deltas) {
    if (std::string more = take_new(said_.reasoning_content, message.reasoning_content); !more.empty())
      deltas.push_back({.reasoning = std::move(more)});
    if (std::string more = take_new(said_.content, message.content); !more.empty())
      deltas.push_back({.content = std::move(more)});
    for (size_t i = 0; i < message.tool_calls.size(); ++i) say_call(i, message.tool_calls[i], deltas);
  }

  void say_call(size_t index, const common_chat_tool_call& call, std::vector<ChatDelta>& deltas) {
    ChatDelta delta{.tool_call = static_cast<int>(index)};
    const bool is_new = index == said_.tool_calls.size();
    if (is_new) {
      said_.tool_calls.emplace_back();
      delta.tool_call_id = call.id.empty() ? random_call_id() : call.id;
      delta.tool_name = call.name;
    }
    delta.tool_arguments = take_new(said_.tool_calls[index].arguments, call.arguments);
    if (is_new || !delta.tool_arguments.empty()) deltas.push_back(std::move(delta));
  }

  // Handed out is handed out: where a later reading disagrees with it, only what is longer counts.
  static std::string take_new(std::string& said, const std::string& now) {
    if (!now.starts_with(said)) return {};
    std::string more = now.substr(said.size());
    said = now;
    return more;
  }

  std::shared_ptr<const AnswerFormat> format_;
  std::string text_;         // all of it
  size_t read_bytes_ = 0;    // of it at the last reading
  size_t good_bytes_ = 0;    // that are within the rules
  common_chat_msg said_;     // handed out
  bool left_rules_ = false;  // what comes is content; also after finish()
};

}  // namespace

std::unique_ptr<ChatParser> make_content_parser() { return std::make_unique<ContentParser>(); }

std::unique_ptr<ChatParser> make_answer_parser(std::shared_ptr<const AnswerFormat> format) {
  return std::make_unique<AnswerParser>(std::move(format));
}

}  // namespace fastcache::model
