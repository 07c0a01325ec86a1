// SPDX-License-Identifier: Apache-2.0
#include "eval/text_quality.h"

#include <algorithm>

#include "base/log.h"
#include "eval/format_quality.h"
#include "eval/score.h"

namespace fastcache::eval {
namespace {

TextResult empty_result(const std::vector<Method>& methods, const EvalOptions& options) {
  TextResult result;
  result.target_bytes.resize(options.removed.size());
  for (const double removed : options.removed)
    for (const Method& method : methods)
      result.rows.push_back(
          {.press = method.name, .simple_baseline = is_simple_baseline(method), .removed = removed});
  if (options.presses.empty())
    result.formats = formats_to_measure(kv::parse_kv_type(options.kv_type), methods);
  return result;
}

// One document: everything that is measured on it.
class DocumentRun {
 public:
  DocumentRun(Workbench& bench, const EvalOptions& options, std::span<const model::Token> tokens,
              const press::PressNeeds& needs)
      : bench_(bench),
        continuation_(tokens.subspan(static_cast<size_t>(options.context_tokens))),
        context_(bench.read(tokens.first(static_cast<size_t>(options.context_tokens)), needs)) {}

  // One document more in each row. go_on says whether to, before each part; false: it did not.
  bool measure(const std::vector<Method>& methods, const EvalOptions& options,
               const std::function<bool(const std::string& what)>& go_on, TextResult& result) {
    add_references(result);
    size_t row = 0;
    for (size_t i = 0; i < options.removed.size(); ++i) {
      const size_t target = even_bytes(bench_, options.context_tokens, options.removed[i]);
      result.target_bytes[i].push_back(static_cast<double>(target));
      for (const Method& method : methods) {
        if (!go_on(fmt::format("text, {:g} % removed, {}", 100 * options.removed[i], method.name)))
          return false;
        add(method, target, result.rows[row++]);
      }
    }
    if (!result.formats.empty() && !go_on("text, fewer bits")) return false;
    measure_formats(bench_, context_, continuation_, reference_, methods, result.formats);
    return true;
  }

 private:
  void add_references(TextResult& result) {
    result.full_bytes.push_back(static_cast<double>(resident_bytes(context_.sequence)));
    kv::Sequence full = context_.sequence.fork();
    reference_ = score_reference(bench_, full, continuation_);
    result.full_nll.push_back(reference_.nll);
    result.full_peak_bytes.push_back(static_cast<double>(resident_bytes(full)));
    kv::Sequence window = bench_.window(context_, kWindowFirst, kWindowLast);
    const Score least = score(bench_, window, continuation_, reference_);
    result.window_nll.push_back(least.nll);
    result.window_kl.push_back(least.kl);
    result.window_top1.push_back(least.top1);
  }

  void add(const Method& method, size_t target_bytes, TextRow& row) {
    Compressed compressed = bench_.compress_to(context_, method.params, row.removed, target_bytes);
    const Score found = score(bench_, compressed, continuation_, reference_);
    row.add(compressed, found);
  }

  Workbench& bench_;
  std::span<const model::Token> continuation_;
  Context context_;
  Reference reference_;
};

}  // namespace

void Resident::add(const Compressed& cache, int n_tokens, int n_on_compressed) {
  bytes.push_back(static_cast<double>(cache.bytes));
  ratios.push_back(cache.ratio);
  tokens += n_tokens;
  tokens_on_compressed += n_on_compressed;
}

void TextRow::add(const Compressed& cache, const Score& found) {
  nll.push_back(found.nll);
  kl.push_back(found.kl);
  top1.push_back(found.top1);
  resident.add(cache, found.n_tokens, found.n_on_compressed);
  resident.peak_bytes.push_back(static_cast<double>(found.peak_bytes));
}

size_t even_bytes(const Workbench& bench, int n_tokens, double removed) {
  const int kept = press::Budget{.ratio = removed}.rows_kept(n_tokens, 0);
  const int rows = bench.shape().rows();
  return static_cast<size_t>((kept + rows - 1) / rows) * static_cast<size_t>(bench.shape().n_heads()) *
         bench.pool().page_bytes();
}

TextResult measure_text(Workbench& bench, const std::vector<Method>& methods,
                        std::span<const TokenText> texts, const EvalOptions& options,
                        const Progress& progress) {
  TextResult result = empty_result(methods, options);
  const press::PressNeeds needs = needs_of(methods);
  const int of = static_cast<int>(texts.size());
  for (int done = 0; done < of; ++done) {
    const TokenText& text = texts[static_cast<size_t>(done)];
    const auto go_on = [&](const std::string& what) { return progress(done, of, what); };
    if (!go_on(fmt::format("text {}", text.name))) break;
    TextResult with_this = result;
    with_this.documents.push_back(text.name);
    DocumentRun run(bench, options, text.tokens, needs);
    if (!run.measure(methods, options, go_on, with_this)) break;
    result = std::move(with_this);
  }
  return result;
}

}  // namespace fastcache::eval
