// SPDX-License-Identifier: Apache-2.0
#include "eval/retrieval_quality.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/log.h"
#include "eval/answer.h"

namespace fastcache::eval {
namespace {

constexpr std::array kTasks{TaskKind::needle, TaskKind::multi_key, TaskKind::multi_value};

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

class TaskRun {
 public:
  TaskRun(Workbench& bench, const std::vector<Method>& methods, std::span<const TokenText> filler,
          const EvalOptions& options, const Progress& progress)
      : bench_(bench), methods_(methods), filler_(filler), options_(options), progress_(progress) {}

  // Of as many examples as were finished before it was stopped.
  TaskResult run(TaskKind kind, int length, bool query_aware) {
    kind_ = kind;
    result_ = {.task = task_name(kind), .length = length, .query_aware = query_aware};
    for (int example = 0; example < options_.examples; ++example)
      if (!answer_uncompressed(example)) return cut_to(0);
    if (!model_can()) return std::move(result_);
    for (const double removed : options_.removed)
      for (const Method& method : methods_)
        result_.rows.push_back(
            {.press = method.name, .simple_baseline = is_simple_baseline(method), .removed = removed});
    for (int example = 0; example < options_.examples; ++example) {
      TaskResult before = result_;
      if (answer_compressed(example)) continue;
      result_ = std::move(before);
      return cut_to(example);
    }
    return std::move(result_);
  }

 private:
  bool model_can() const {
    return std::max(mean_of(result_.full_exact), mean_of(result_.full_likely)) >= options_.least_full;
  }

  // To the first examples, whose rows are there, and what they alone say of the model.
  TaskResult cut_to(int n) {
    for (auto* full : {&result_.full_exact, &result_.full_likely, &result_.full_bytes})
      full->resize(static_cast<size_t>(n));
    if (n == 0 || !model_can()) result_.rows.clear();
    return std::move(result_);
  }

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

  bool go_on(int example, const std::string& what) const {
    return progress_(example, options_.examples,
                     fmt::format("{} at {} tokens{}, {}", result_.task, result_.length,
                                 result_.query_aware ? ", question known" : "", what));
  }

  bool answer_uncompressed(int example) {
    if (!go_on(example, "uncompressed")) return false;
    const Task asked = task(example);
    Context context = bench_.read(prompt(asked), {});
    result_.full_bytes.push_back(static_cast<double>(resident_bytes(context.sequence)));
    kv::Sequence* const sequence = &context.sequence;
    const Answer answer = answer_task(bench_, asked, result_.query_aware, std::span(&sequence, 1))[0];
    result_.full_exact.push_back(answer.exact);
    result_.full_likely.push_back(answer.likely);
    return true;
  }

  bool answer_compressed(int example) {
    if (!go_on(example, "reading")) return false;
    const Task asked = task(example);
    const Context context = bench_.read(prompt(asked), needs_of(methods_));
    for (size_t i = 0; i < result_.rows.size(); i += kMethodsAtOnce) {
      const size_t n = std::min<size_t>(kMethodsAtOnce, result_.rows.size() - i);
      if (!go_on(example, fmt::format("{:g} % removed", 100 * result_.rows[i].removed))) return false;
      answer_some(asked, context, i, n);
    }
    return true;
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

int task_count(const EvalOptions& options) {
  if (options.examples == 0) return 0;
  return static_cast<int>(options.lengths.size() * kTasks.size()) * (options.query_aware ? 2 : 1);
}

std::vector<TaskResult> measure_tasks(Workbench& bench, const std::vector<Method>& methods,
                                      std::span<const TokenText> filler, const EvalOptions& options,
                                      const Progress& progress) {
  std::vector<TaskResult> results;
  TaskRun run(bench, methods, filler, options, progress);
  for (const int length : options.lengths)
    for (const TaskKind kind : kTasks)
      for (const bool query_aware : {false, true}) {
        if (query_aware && !options.query_aware) continue;
        TaskResult task = run.run(kind, length, query_aware);
        const size_t n = task.full_exact.size();
        if (n > 0) results.push_back(std::move(task));
        if (n < static_cast<size_t>(options.examples)) return results;
      }
  return results;
}

}  // namespace fastcache::eval
