// SPDX-License-Identifier: Apache-2.0
#include "model/vocab.h"

#include <llama.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "base/error.h"
#include "model/deep_stack.h"
#include "model/libllama.h"
#include "model/vocab_probe.h"

namespace fastcache::model {

struct Vocab::Impl {
  LlamaModelPtr model;
  const llama_vocab* vocab = nullptr;
  std::vector<Token> eog;

  std::optional<Token> present(llama_token token) const {
    return token == LLAMA_TOKEN_NULL ? std::nullopt : std::optional<Token>(token);
  }
};

namespace {

LlamaModelPtr load_vocab_only(const GgufFile& file) {
  start_llama_library();
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  params.n_gpu_layers = 0;
  take_llama_error();
  LlamaModelPtr model(llama_model_load_from_file(file.path().c_str(), params));
  if (!model) {
    const std::string reason = take_llama_error();
    file.fail(fmt::format("the vocabulary cannot be loaded: {}",
                          reason.empty() ? "libllama gives no reason" : reason));
  }
  return model;
}

constexpr size_t kMaxTextBytes = size_t{64} << 20;  // a book has one or two MiB
constexpr size_t kShortText = 2048;                 // splits on any thread's stack: see deep_stack.h

std::vector<Token> tokenize_here(const llama_vocab* vocab, std::string_view text, TokenizeOptions options) {
  std::vector<Token> tokens(text.size() / 2 + 16);
  const auto attempt = [&] {
    return llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                          static_cast<int32_t>(tokens.size()), options.add_special, options.parse_special);
  };
  int32_t n = attempt();
  if (n < 0) {  // minus the number that there are
    tokens.resize(static_cast<size_t>(-n));
    n = attempt();
  }
  tokens.resize(static_cast<size_t>(std::max(n, 0)));
  return tokens;
}

}  // namespace

Vocab::Vocab(const GgufFile& file) : Vocab((probe_vocab(file), file), Unprobed{}) {}

Vocab::Vocab(const GgufFile& file, Unprobed) : impl_(std::make_unique<Impl>()) {
  impl_->model = load_vocab_only(file);
  impl_->vocab = llama_model_get_vocab(impl_->model.get());
  if (llama_vocab_type(impl_->vocab) == LLAMA_VOCAB_TYPE_NONE || n_tokens() <= 0) {
    throw Error{Code::unsupported, fmt::format("{}: the model has no vocabulary", file.path())};
  }
  for (Token token = 0; token < n_tokens(); ++token) {
    if (llama_vocab_is_eog(impl_->vocab, token)) impl_->eog.push_back(token);
  }
}

Vocab::~Vocab() = default;
Vocab::Vocab(Vocab&&) noexcept = default;
Vocab& Vocab::operator=(Vocab&&) noexcept = default;

int Vocab::n_tokens() const { return llama_vocab_n_tokens(impl_->vocab); }

std::vector<Token> Vocab::tokenize(std::string_view text, TokenizeOptions options) const {
  if (const auto offset = find_invalid_utf8(text)) {
    throw Error{Code::bad_request, fmt::format("the text is not valid UTF-8: byte {} (0x{:02x})", *offset,
                                               static_cast<unsigned char>(text[*offset]))};
  }
  if (text.size() > kMaxTextBytes) {
    throw Error{Code::bad_request, fmt::format("the text has {} bytes; at most {} can be tokenized at once",
                                               text.size(), kMaxTextBytes)};
  }
  if (text.size() <= kShortText) return tokenize_here(impl_->vocab, text, options);
  std::vector<Token> tokens;
  run_on_deep_stack(text.size() * kStackPerByte,
                    [&] { tokens = tokenize_here(impl_->vocab, text, options); });
  return tokens;
}

std::string Vocab::piece(Token token, bool special) const {
  if (!is_valid(token)) {
    throw Error{Code::bad_request,
                fmt::format("{} is no token; they go from 0 to {}", token, n_tokens() - 1)};
  }
  std::string text(32, '\0');
  int32_t n =
      llama_token_to_piece(impl_->vocab, token, text.data(), static_cast<int32_t>(text.size()), 0, special);
  if (n < 0) {
    text.resize(static_cast<size_t>(-n));
    n = llama_token_to_piece(impl_->vocab, token, text.data(), static_cast<int32_t>(text.size()), 0, special);
  }
  text.resize(static_cast<size_t>(std::max(n, 0)));
  return text;
}

std::string Vocab::detokenize(std::span<const Token> tokens, bool special) const {
  Utf8Stream stream;
  std::string text;
  for (const Token token : tokens) text += stream.push(piece(token, special));
  return text + stream.flush();
}

bool Vocab::is_control(Token token) const {
  return is_valid(token) && llama_vocab_is_control(impl_->vocab, token);
}
bool Vocab::is_eog(Token token) const { return is_valid(token) && llama_vocab_is_eog(impl_->vocab, token); }
const std::vector<Token>& Vocab::eog_tokens() const { return impl_->eog; }

std::optional<Token> Vocab::bos() const { return impl_->present(llama_vocab_bos(impl_->vocab)); }
std::optional<Token> Vocab::eos() const { return impl_->present(llama_vocab_eos(impl_->vocab)); }
std::optional<Token> Vocab::eot() const { return impl_->present(llama_vocab_eot(impl_->vocab)); }
bool Vocab::adds_bos() const { return llama_vocab_get_add_bos(impl_->vocab); }

const llama_model* Vocab::llama() const { return impl_->model.get(); }
const llama_vocab* Vocab::llama_vocab_ptr() const { return impl_->vocab; }

}  // namespace fastcache::model
