// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_compressed.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "eval/greedy.h"
#include "eval/press_list.h"
#include "eval/text_quality.h"
#include "eval/vision_prompt.h"
#include "eval/vision_score.h"
#include "eval/workbench.h"

namespace fastcache::eval {
namespace {

constexpr size_t kAnswersAtOnce = 8;

// Questions [first, end) that share their pictures and all that stands before them.
struct Group {
  size_t first = 0, end = 0;
  std::vector<QuestionTokens> tokens{};  // [questions]
  int context_tokens = 0;
  std::string error{};  // why they cannot be asked; empty: they can
};

Group make_group(const CompressedEngine& engine, const std::vector<VisionQuestion>& questions, size_t first,
                 int answer_tokens) {
  Group group{.first = first, .end = first};
  int longest = 0;
  for (; group.end < questions.size() && same_pictures(questions[first], questions[group.end]); ++group.end) {
    group.tokens.push_back(question_tokens(engine.model, questions[group.end]));
    longest = std::max(longest, static_cast<int>(group.tokens.back().question.size()));
  }
  try {
    group.context_tokens = context_tokens(engine.vision, group.tokens[0], questions[first]);
  } catch (const Error& error) {
    group.error = error.what();
  }
  const int tokens = group.context_tokens + longest + answer_tokens;
  if (tokens > engine.model.hparams.context_length)
    group.error = fmt::format("pictures, question and answer need {} tokens; the model's context holds {}",
                              tokens, engine.model.hparams.context_length);
  return group;
}

// None if it was stopped meanwhile: every picture is opened for its size.
std::vector<Group> make_groups(const CompressedEngine& engine, const std::vector<VisionQuestion>& questions,
                               const AskOptions& ask) {
  std::vector<Group> groups;
  for (size_t first = 0; first < questions.size(); first = groups.back().end) {
    if (ask.progress && !ask.progress(0, static_cast<int>(questions.size()), "measuring prompts")) return {};
    groups.push_back(make_group(engine, questions, first, ask.answer_tokens));
  }
  return groups;
}

WorkbenchOptions bench_options(const CompressedEngine& engine, const std::vector<Group>& groups,
                               int answer_tokens) {
  int context = 0, question = 0;
  for (const Group& group : groups) {
    if (!group.error.empty()) continue;
    context = std::max(context, group.context_tokens);
    for (const QuestionTokens& tokens : group.tokens)
      question = std::max(question, static_cast<int>(tokens.question.size()));
  }
  const int at_once = static_cast<int>(kAnswersAtOnce);
  return {.kv_type = engine.kv_type,
          .chunk_tokens = engine.chunk_tokens,
          // The context, the fork that is measured, one more while a ratio is sought; and what answers add.
          .capacity_tokens = 4 * (context + 1) + at_once * (question + answer_tokens),
          .lora = engine.lora,
          .max_sequences = 4 + at_once};
}

std::vector<Method> methods_of(const CompressedEngine& engine, const VisionOptions& options) {
  const bool all = options.presses == std::vector<std::string>{"all"};
  std::vector<Method> methods =
      choose_methods(all ? std::vector<std::string>() : options.presses,
                     {.n_layers = engine.model.hparams.n_layers,
                      .output_weights = !engine.model.family->output_weights().empty()},
                     options.seed);
  for (const Method& method : methods)
    if (method.every > 0)
      throw Error{Code::unsupported,
                  fmt::format("press '{}' works while an answer grows, but these answers are "
                              "short: name the press that it wraps",
                              method.name)};
  return methods;
}

// Pictures of one dataset fill the same rows of their prompts: with one seed chance would drop the same of
// all.
void mix_seed(press::PressParams& press, uint64_t group) {
  press.seed += group;
  for (press::PressParams& inner : press.inner)
    if (inner.seed != 0) mix_seed(inner, group);  // 0: the outer one's
}

class CompressedRun {
 public:
  CompressedRun(const CompressedEngine& engine, const AskOptions& ask, VisionResult& result)
      : engine_(engine),
        ask_(ask),
        result_(result),
        methods_(methods_of(engine, result.options)),
        groups_(make_groups(engine, result.questions, ask)),
        bench_(engine.model, engine.threads, bench_options(engine, groups_, ask.answer_tokens)) {
    result_.answers.assign(result_.questions.size(), {});
    for (const double removed : result_.options.removed)
      for (const Method& method : methods_)
        result_.presses.push_back(
            {.press = method.name, .simple_baseline = is_simple_baseline(method), .removed = removed});
  }

  void run() {
    const press::PressNeeds needs = needs_of(methods_);
    for (const Group& group : groups_)
      if (!measure(group, needs)) return;
  }

 private:
  bool go_on(const Group& group, const std::string& what) const {
    return !ask_.progress ||
           ask_.progress(static_cast<int>(group.first), static_cast<int>(result_.questions.size()), what);
  }

  void fail(const Group& group, const std::string& why) {
    for (size_t i = group.first; i < group.end; ++i) result_.answers[i] = {.asked = true, .error = why};
  }

  // False: stopped, and nothing of it counts.
  bool measure(const Group& group, const press::PressNeeds& needs) {
    if (!group.error.empty()) {
      fail(group, group.error);
      return true;
    }
    if (!go_on(group, "reading pictures")) return false;
    std::optional<PicturesRead> pictures;
    try {
      pictures =
          read_pictures(engine_.vision, engine_.threads, group.tokens[0], result_.questions[group.first]);
    } catch (const Error& error) {
      fail(group, error.what());
      return true;
    }
    const Context context =
        bench_.read(pictures->prompt, pictures->embeddings, engine_.vision.reading().both_ways, needs);
    const std::vector<GreedyAnswer> full = answer(group, context.sequence);
    std::vector<Measured> rows;
    for (size_t row = 0; row < result_.presses.size(); ++row) {
      const VisionPressRow& what = result_.presses[row];
      if (!go_on(group, fmt::format("{:g} % removed, {}", 100 * what.removed, what.press))) return false;
      rows.push_back(compressed(group, context, row));
    }
    take(group, full, resident_bytes(context.sequence), rows);
    return true;
  }

  struct Measured {
    Compressed cache;
    bool lacks = false;  // rows or bits
    std::vector<GreedyAnswer> answers{};
  };

  Measured compressed(const Group& group, const Context& context, size_t row) {
    const double removed = result_.presses[row].removed;
    const size_t target = even_bytes(bench_, context.sequence.token_count(), removed);
    press::PressParams press = methods_[row % methods_.size()].params;
    mix_seed(press, group.first);
    Compressed cache = bench_.compress_to(context, press, removed, target);
    Measured measured{.cache = std::move(cache)};
    measured.lacks = is_compressed(measured.cache.sequence);
    measured.answers = answer(group, measured.cache.sequence);
    measured.cache.sequence.release();  // its figures stay
    return measured;
  }

  // Every question of the group, each on a fork of its own.
  std::vector<GreedyAnswer> answer(const Group& group, const kv::Sequence& cache) {
    std::vector<GreedyAnswer> answers;
    for (size_t first = 0; first < group.tokens.size(); first += kAnswersAtOnce) {
      std::vector<kv::Sequence> forks;
      std::vector<kv::Sequence*> sequences;
      std::vector<Tokens> prompts;
      for (size_t i = first; i < std::min(first + kAnswersAtOnce, group.tokens.size()); ++i) {
        forks.push_back(cache.fork());
        prompts.push_back(group.tokens[i].question);
      }
      for (kv::Sequence& fork : forks) sequences.push_back(&fork);
      for (GreedyAnswer& one : answer_greedily(bench_, sequences, prompts, ask_.answer_tokens))
        answers.push_back(std::move(one));
    }
    return answers;
  }

  void take(const Group& group, const std::vector<GreedyAnswer>& full, size_t full_bytes,
            const std::vector<Measured>& rows) {
    for (size_t i = 0; i < full.size(); ++i) {
      const VisionQuestion& question = result_.questions[group.first + i];
      result_.answers[group.first + i] = {
          .asked = true, .text = full[i].text, .score = score_answer(question, full[i].text)};
      result_.full_bytes.push_back(static_cast<double>(full_bytes));
      for (size_t row = 0; row < rows.size(); ++row) {
        const GreedyAnswer& said = rows[row].answers[i];
        result_.presses[row].scores.push_back(score_answer(question, said.text));
        result_.presses[row].resident.add(rows[row].cache, said.n_tokens,
                                          rows[row].lacks ? said.n_tokens : 0);
      }
    }
  }

  const CompressedEngine& engine_;
  const AskOptions& ask_;
  VisionResult& result_;
  const std::vector<Method> methods_;
  const std::vector<Group> groups_;
  Workbench bench_;
};

}  // namespace

void ask_compressed(const CompressedEngine& engine, const AskOptions& ask, VisionResult& result) {
  CompressedRun(engine, ask, result).run();
}

}  // namespace fastcache::eval
