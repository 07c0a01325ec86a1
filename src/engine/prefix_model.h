// SPDX-License-Identifier: Apache-2.0
// For tests: random operations on a prefix cache over a tiny pool, beside a plain reference: sets of token
// lists. After each operation the whole pool is checked, evictable pages are counted from the block tables,
// and a hit must be exactly the longest that the reference knows, with the rows of its tokens. What evict()
// dropped is asked for, entry by entry, and must be closed under "its parent is there".
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/prefix_cache.h"
#include "engine/prefix_test_prompts.h"

namespace fastcache::engine {

class PrefixModel {
 public:
  explicit PrefixModel(uint64_t seed);
  void run(int n_operations);  // records gtest failures, and stops at the first
  std::string counts() const;

 private:
  struct Content {  // what makes prompts equal
    Tokens tokens;
    Digests digests;  // of its images
  };
  struct Less {
    bool operator()(const Content& a, const Content& b) const;
  };
  struct Live {
    kv::Sequence sequence;
    int name = 0;
    Content content;
    bool compressed = false;
    int window_tokens = 0;  // in front of which layer 0 may have freed pages
  };
  struct Known {                         // of one namespace
    std::set<Content, Less> blocks;      // each block by the whole prefix that it ends
    std::set<Content, Less> compressed;  // of lengths that are no multiple of a block
  };
  struct Operation {
    const char* name;
    int weight;
    void (PrefixModel::*perform)();
  };
  static const std::vector<Operation>& operations();

  void start();
  void decode();
  void insert();
  void compress();
  void keep_compressed();
  void fork();
  void truncate();
  void window();
  void release();
  void evict();
  void evict_all();
  void clear_one();

  int pick(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  Live& any() { return *live_[pick(static_cast<int>(live_.size()))]; }
  Content prompt();
  void remember_prompt(const Content& content);
  void extend(Content& content, int n);
  Content first_of(const Content& content, int n) const;  // with the digests that those tokens need
  int shareable(const Content& content) const;
  int longest_known(int name, const Content& content) const;
  bool append(Live& live, const Content& content);  // false: no pages
  void evict_pages(size_t n);
  void forget_what_was_dropped();
  size_t pages_without_user() const;
  void verify();

  std::mt19937_64 random_;
  kv::AllocationFaults faults_;
  kv::PagePool pool_;
  PrefixCache cache_;
  std::vector<std::unique_ptr<Live>> live_;
  std::vector<Content> prompts_;  // earlier ones: new ones begin like them
  std::vector<Known> known_;      // [namespaces]
  PrefixCacheStatistics expected_;
  bool fault_planned_ = false;
  int64_t n_compressed_hits_ = 0;
  int64_t n_without_pages_ = 0;
  std::vector<int64_t> done_;
};

}  // namespace fastcache::engine
