// SPDX-License-Identifier: Apache-2.0
#include "eval/retrieval_quality.h"

#include <algorithm>
#include <numeric>

#include "base/log.h"
#include "eval/answer.h"

namespace fastcache::eval {
namespace {

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

class TaskRun {
 public:
  TaskRun(Workbench& bench, const std::vector<Method>& methods, std::span<const TokenText> filler,
          const EvalOptions& options, const Progress& progress)
      : bench_(bench), methods_(methods), filler_(filler), options_(options), progress_(progress) {}

  TaskResult run(TaskKind kind, int length, bool query_aware) {
    kind_ = kind;
    result_ = {.task = task_name(kind), .length = length, .query_aware = query_aware};
    for (int example = 0; example < options_.examples; ++example) answer_uncompressed(example);
    if (std::max(mean_of(result_.full_exact), mean_of(result_.full_likely)) >= kLeastFull) {
      for (const double removed : options_.removed)
        for (const Method& method : methods_)
          result_.rows.push_back(
              {.press = method.name, .simple_baseline = is_simple_baseline(method), .removed = removed});
      for (int example = 0; example < options_.examples; ++example) answer_compressed(example);
    }
    return std::move(result_);
  }

 private:
  Task task(int example) const {
    const uint64_t seed = options_.seed * 1'000'003 + static_cast<uint64_t>(example) * 101 +
                          static_cast<uint64_t>(kind_) + static_cast<uint64_t>(result_.length) * 7;
    return make_task(kind_, result_.length, filler_, bench_.model().vocab, seed);
  }

  Tokens prompt(const Task& task) const {
    Tokens tokens = task.context;
    if (result_.query_aware) tokens.insert(tokens.end(), task.question.begin(), task.question.end());
    return tokens;
  }

  void say(int example, const std::string& what) const {
    progress_(example, options_.examples,
              fmt::format("{} at {} tokens{}, {}", result_.task, result_.length,
                          result_.query_aware ? ", question known" : "", what));
  }

  void answer_uncompressed(int example) {
    say(example, "uncompressed");
    const Task asked = task(example);
    Context context = bench_.read(prompt(asked), {});
    result_.full_bytes.push_back(static_cast<double>(resident_bytes(context.sequence)));
    kv::Sequence* const sequence = &context.sequence;
    const Answer answer = answer_task(bench_, asked, result_.query_aware, std::span(&sequence, 1))[0];
    result_.full_exact.push_back(answer.exact);
    result_.full_likely.push_back(answer.likely);
  }

  void answer_compressed(int example) {
    say(example, "reading");
    const Task asked = task(example);
    const Context context = bench_.read(prompt(asked), needs_of(methods_));
    for (size_t i = 0; i < result_.rows.size(); i += kMethodsAtOnce) {
      const size_t n = std::min<size_t>(kMethodsAtOnce, result_.rows.size() - i);
      say(example, fmt::format("{:g} % removed", 100 * result_.rows[i].removed));
      answer_some(asked, context, i, n);
    }
  }

  // Rows [first, first + n), side by side.
  void answer_some(const Task& asked, const Context& context, size_t first, size_t n) {
    std::vector<Compressed> compressed;
    std::vector<kv::Sequence*> sequences;
    for (size_t i = first; i < first + n; ++i) {
      const TaskRow& row = result_.rows[i];
      const size_t target = even_bytes(bench_, context.sequence.token_count(), row.removed);
      compressed.push_back(
          bench_.compress_to(context, methods_[i % methods_.size()].params, row.removed, target));
    }
    for (Compressed& each : compressed) sequences.push_back(&each.sequence);
    const std::vector<Answer> answers = answer_task(bench_, asked, result_.query_aware, sequences);
    for (size_t i = 0; i < n; ++i) {
      TaskRow& row = result_.rows[first + i];
      row.exact.push_back(answers[i].exact);
      row.likely.push_back(answers[i].likely);
      row.resident.add(compressed[i], answers[i].n_tokens, answers[i].n_on_compressed);
    }
  }

  Workbench& bench_;
  const std::vector<Method>& methods_;
  std::span<const TokenText> filler_;
  const EvalOptions& options_;
  const Progress& progress_;
  TaskKind kind_ = TaskKind::needle;
  TaskResult result_;
};

}  // namespace

std::vector<TaskResult> measure_tasks(Workbench& bench, const std::vector<Method>& methods,
                                      std::span<const TokenText> filler, const EvalOptions& options,
                                      const Progress& progress) {
  std::vector<TaskResult> results;
  TaskRun run(bench, methods, filler, options, progress);
  for (const int length : options.lengths)
    for (const TaskKind kind : {TaskKind::needle, TaskKind::multi_key, TaskKind::multi_value})
      for (const bool query_aware : {false, true})
        if (!query_aware || options.query_aware) results.push_back(run.run(kind, length, query_aware));
  return results;
}

}  // namespace fastcache::eval
