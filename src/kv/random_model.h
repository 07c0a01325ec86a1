// SPDX-License-Identifier: Apache-2.0
// For tests: random operations on a pool with a plain reference beside it (vectors of rows). After each
// operation the touched sequence and one other are compared through their tables; the whole pool is checked
// every now and then. An operation that reports scarcity, real or injected, must have changed nothing.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kv/test_rows.h"

namespace fastcache::kv {

class RandomModel {
 public:
  explicit RandomModel(uint64_t seed);
  void run(int64_t n_operations);  // records gtest failures, and stops at the first
  std::string counts() const;      // what was done how often

 private:
  struct Row {
    int token = 0;
    uint32_t id = 0;  // content: test_row(id, pair)
    bool compressed = false;
    float bias = 0.0f;
    std::shared_ptr<const TestRow> rounded{};  // content since it lies in a quantised page
  };
  struct Rows {  // made by a press
    std::vector<float> k, v, bias;
  };
  struct Live {  // a sequence and its reference
    Sequence sequence;
    std::vector<Token> tokens;
    std::vector<uint32_t> ids;            // [tokens]: content of their uncompressed rows
    std::vector<std::vector<Row>> heads;  // [n_layers * n_kv_heads][rows]
  };
  struct Cached {  // a prefix in the prefix cache
    std::vector<Block> blocks;
    std::vector<Token> tokens;
    std::vector<uint32_t> ids;
  };
  struct Operation {
    const char* name;
    int weight;
    void (RandomModel::*perform)();
  };
  static const std::vector<Operation>& operations();

  void create();
  void prefill();
  void decode();
  void image();
  void failed_step();
  void fork();
  void truncate();
  void release();
  void keep_one();
  void keep_all();
  void replace();
  void quantize();
  void cache();
  void uncache();
  void attach();
  void window();
  void move();

  int pick(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  Live& any() { return *live_[pick(static_cast<int>(live_.size()))]; }
  Live& add(Sequence sequence);
  bool append(Live& live, const std::vector<Token>& tokens);
  std::vector<Token> text(const Live& live, int n);
  static void forget(Live& live, int n_tokens);
  bool keep(Live& live, int layer, int head);
  Row make_row(Rows& rows, int token, int pair, bool with_bias);
  static TestRow content(const Row& row, int pair);
  void take_rounded(const Live& live, int pair, const HeadTable& old, const std::vector<int32_t>& kept,
                    std::vector<Row>& rows);
  bool owned_alone(const HeadTable& head) const;
  void expect_reserve_kept(size_t free_before) const;  // by a commit

  // An operation that reports scarcity: counts why, and demands that there was a reason and that no page
  // moved.
  void refused(size_t free_before, bool scarce);
  void verify(const Live& live);
  void verify_head(const Live& live, int layer, int head);
  void check_all();

  std::mt19937_64 random_;
  AllocationFaults faults_;
  PagePool pool_;
  std::vector<std::unique_ptr<Live>> live_;
  std::vector<Cached> cached_;
  Live* touched_ = nullptr;
  bool fault_planned_ = false;
  uint32_t next_id_ = 1;
  std::vector<int64_t> done_;
  int64_t scarce_ = 0;
  int64_t injected_ = 0;
  int64_t rounded_ = 0;
};

}  // namespace fastcache::kv
