// SPDX-License-Identifier: Apache-2.0
// What the engine knows of a request and of each of its answers. Prepared on the submitter's thread, owned by
// the engine thread from then on.
//
// An answer's tokens are the prompt's and then its own. Its sequence holds the rows of the first of them; the
// rest is still to be fed. So a preempted answer is one whose sequence was emptied: it is fed from the
// beginning, with the compression at the same place, and goes on as if nothing had happened.
//
// One limit: a turn that went on from an earlier turn's compressed rows needs them again for its replay, and
// nothing holds them in the cache meanwhile (a waiting request that held pages could starve the first in
// rank). If they are gone, the replay compresses all of its prompt at once, as the turn would have done had
// they been gone from the start: tokens already given out stay, later ones may be others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/answer_channel.h"
#include "engine/prefix_chain.h"
#include "engine/sampler.h"
#include "engine/schedule.h"
#include "engine/text_stream.h"
#include "fastcache/request.h"
#include "kv/sequence.h"
#include "model/picture_prompt.h"
#include "model/query_record.h"
#include "press/compress.h"

namespace fastcache::engine {

// A picture of a prompt.
struct PictureState {
  std::shared_ptr<const Picture> pixels;  // until it is encoded
  Hash128 digest;                         // of pixels, size and encoder: equal digests, equal embeddings
  std::shared_ptr<const std::vector<float>> embeddings;  // [its image tokens, n_embd]; null: not encoded yet
};

struct RequestState {
  std::vector<int32_t> prompt;  // vocabulary ids; -1: a patch of a picture
  // Where there are pictures: what each of the prompt's tokens is, and which row of its picture's embeddings.
  model::PicturePrompt picture_prompt;
  std::vector<PictureState> pictures;
  std::vector<Hash128> image_digests;  // of the pictures
  int n_embd = 0;                      // width of an embedding
  bool adapted = false;                // computed with the engine's adapter; the step loop says so
  bool grids_are_whole = false;        // patches of a picture see each other: fed in one step
  int max_tokens = 1;
  int n = 1;
  std::shared_ptr<const StopStrings> stop;
  SamplingParams sampling;
  std::optional<Sampler> sampler;  // of answer 0, which takes it; it has seen the prompt
  press::PressParams press;
  press::PressNeeds press_needs;
  bool compresses = false;
  int longest_probe = 0;           // tokens of the press's longest extra pass
  bool press_bounds_rows = false;  // between them every head's rows have a limit
  bool press_is_even = false;      // it leaves all heads the same number of rows
  int press_interval = 0;          // tokens between compressions during decoding; 0: there are none
  PrefixNamespace plain_rows, compressed_rows;
  int priority = 0;
  double arrival_ms = 0;
  double deadline_ms = kNoDeadline;  // on the engine's clock
  std::shared_ptr<AnswerChannel> channel;

  bool has_pictures() const { return !pictures.empty(); }

  // --- engine thread
  std::exception_ptr error;  // what it failed of before it came to the step loop
  double encoded_ms = -1;    // -1: there was nothing to encode
  uint64_t number = 0;       // in order of arrival
  int answers_left = 0;
  double first_step_ms = -1, first_token_ms = -1, last_token_ms = -1;  // -1: not yet
  double tpot_sum_ms = 0;  // over the answers of more than one token
  int tpot_answers = 0;
  Summary summary;
};

// Extra passes for the press over an answer's prompt, one after the other. While there is one, the sequence
// holds the prompt's rows and behind them those of the pass at work, as far as it is fed.
struct SecondPass {
  std::vector<std::vector<int32_t>> texts;  // tokens of each pass
  size_t at = 0;                            // the pass at work
  model::QueryRecord record;
};

struct AnswerState {
  AnswerState(std::shared_ptr<RequestState> of, int which, kv::Sequence empty, Sampler its_sampler,
              TextStream its_text)
      : request(std::move(of)),
        index(which),
        tokens(request->prompt),
        sequence(std::move(empty)),
        sampler(std::move(its_sampler)),
        text(std::move(its_text)) {}

  RequestId id = 0;
  std::shared_ptr<RequestState> request;
  int index = 0;                // of the request's answers
  std::vector<int32_t> tokens;  // the prompt's, then its own
  kv::Sequence sequence;
  std::unique_ptr<model::QueryRecord> record;  // for the press, from its first query to the compression
  std::unique_ptr<SecondPass> second_pass;     // from the end of prefill to the compression
  Sampler sampler;
  TextStream text;

  bool waiting = true;
  bool preempted = false;
  Stage stage = Stage::prefill;
  int n_compressions = 0;  // the press was here so often, since the sequence was last empty
  int n_reported = 0;      // of them, in the summary: a replay does not count them again
  std::vector<press::PlannedHead>
      heads_to_compress;                // of a compression that found no pages, for the next step
  int64_t bytes_freed = 0;              // by that compression, so far
  bool from_compressed_prefix = false;  // an earlier turn's rows came out of the cache
  int compressed_prefix_tokens = 0;     // of it, when the first token was drawn
  bool ended = false;                   // finished, but its rows are still to be forked
  int steps_waited = 0;
  double first_token_ms = 0, last_token_ms = 0;
  // Answers that have their first token and wait for the prompt's compression, to start from its rows.
  std::vector<std::unique_ptr<AnswerState>> siblings;

  int n_prompt() const { return static_cast<int>(request->prompt.size()); }
  int n_generated() const { return static_cast<int>(tokens.size()) - n_prompt(); }
  bool compressed() const { return n_compressions > 0; }
  // Behind how many tokens the press comes next: the prompt's, then, where it compresses during decoding, so
  // many more each time. They are places in the text, so a replay comes by the same ones.
  static constexpr int kNever = std::numeric_limits<int>::max();
  int press_at() const {
    if (!request->compresses || (compressed() && request->press_interval == 0)) return kNever;
    return n_prompt() + n_compressions * request->press_interval;
  }
  bool press_is_due() const { return sequence.token_count() == press_at(); }
  // Up to where the tokens are fed before something else happens.
  int feed_end() const { return std::min(press_at(), static_cast<int>(tokens.size())); }
  // Those to be fed next, or those of the extra pass at work.
  std::span<const int32_t> next_tokens() const {
    if (second_pass != nullptr)
      return std::span(second_pass->texts[second_pass->at])
          .subspan(static_cast<size_t>(sequence.token_count() - n_prompt()));
    const size_t fed = static_cast<size_t>(sequence.token_count());
    return std::span(tokens).first(static_cast<size_t>(feed_end())).subspan(fed);
  }
  // Of tokens [begin, end), as the sequence keeps them.
  std::vector<kv::Token> kv_tokens(int begin, int end) const;
  // [end - begin]: embeddings of patches, null for text; empty where all is text. Valid as long as the
  // request.
  std::vector<const float*> embeddings(int begin, int end) const;
  // The end of a step that begins at `begin`: end, or a place near it that cuts no picture.
  int step_end(int begin, int end) const;
  int tokens_left() const { return static_cast<int>(next_tokens().size()); }
  // Its tokens stand on certain rows by now: a replay must not begin with others that the cache has.
  bool prefix_is_settled() const { return n_generated() > 0 || ended; }
  // No answer will ever need its rows: the request may have ended long ago.
  bool is_over() const {
    return ended && std::all_of(siblings.begin(), siblings.end(), [](const auto& s) { return s->ended; });
  }
  // Answers that its rows will serve.
  int n_forks() const {
    return n_generated() == 0 && index == 0 && !ended ? request->n : 1 + static_cast<int>(siblings.size());
  }
};

}  // namespace fastcache::engine
