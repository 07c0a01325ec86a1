// SPDX-License-Identifier: Apache-2.0
// What `fastcache run` keeps for all turns of a conversation: the model, its cache and the messages so far.
// Owner: the main thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/interrupt.h"
#include "cli/options.h"
#include "engine/generator.h"
#include "model/loaded_model.h"

namespace fastcache::cli {

struct RunOptions {
  ModelOptions model;
  SamplingParams sampling;
  std::string prompt;
  bool has_prompt = false;
  std::string system;
  std::string mmproj;               // path of a vision encoder
  std::string lora;                 // path of an adapter for requests with pictures
  std::vector<std::string> images;  // paths of the pictures that the prompt is about
  int max_tokens = 512;
  bool raw = false;
  bool quiet = false;
};

class Session {
 public:
  explicit Session(const RunOptions& options);  // throws Error: the model, the pool

  // Prints the answer as it comes, then statistics; Ctrl-C ends it. Question and answer become part of the
  // conversation. Throws Error; the conversation is then as before.
  engine::FinishReason ask(const std::string& question);

  void reset();  // forgets the conversation and frees its pages
  Interrupt& interrupt() { return interrupt_; }
  std::string model_name() const;

 private:
  std::vector<model::Token> prompt_tokens();
  std::string answer(std::span<const model::Token> prompt, engine::GenerateStats& stats);

  const RunOptions& options_;
  ComputePool compute_;
  model::LoadedModel model_;
  engine::Generator generator_;
  std::vector<model::ChatMessage> messages_;
  Interrupt interrupt_;
  bool terminal_;  // standard output is one: it would obey control characters
};

}  // namespace fastcache::cli
