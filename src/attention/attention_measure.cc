// SPDX-License-Identifier: Apache-2.0
#include "attention/attention_measure.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

#include "base/error.h"
#include "kv/quantized_page.h"

namespace fastcache::attention {
namespace {

class Pages {  // memory as the pool has it: huge pages where the system gives them
 public:
  Pages(size_t n_pages, int head_dim, kv::KvType type)
      : side_(n_pages * kv::page_side_bytes(type) / sizeof(float)) {
    memory_.payload_bytes = kv::page_payload_bytes(head_dim);
    bytes_ = n_pages * memory_.payload_bytes + kHuge;
    base_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) throw Error{Code::io, "not enough memory to measure attention"};
    ::madvise(base_, bytes_, MADV_HUGEPAGE);  // a wish: without it only slower
    const uintptr_t aligned = (reinterpret_cast<uintptr_t>(base_) + kHuge - 1) / kHuge * kHuge;
    memory_.payload = reinterpret_cast<std::byte*>(aligned);
    memory_.side = side_.empty() ? nullptr : reinterpret_cast<std::byte*>(side_.data());
    memory_.side_bytes = kv::page_side_bytes(type);
  }
  ~Pages() { ::munmap(base_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  const kv::PageMemory& memory() const { return memory_; }

 private:
  static constexpr size_t kHuge = size_t{2} << 20;
  kv::PageMemory memory_;
  std::vector<float> side_;
  void* base_ = nullptr;
  size_t bytes_ = 0;
};

int page_rows(const MeasureShape& shape) { return kv::rows_per_page(shape.type, shape.head_dim); }

struct Table {                                       // of one (layer, sequence)
  std::vector<std::vector<kv::TableEntry>> entries;  // [n_kv_heads]
  std::vector<kv::HeadRows> heads;
};

class Setup {
 public:
  explicit Setup(const MeasureShape& shape);
  AttentionBatch batch(int layer);

 private:
  void fill_pages();

  MeasureShape shape_;
  size_t pages_per_head_;
  size_t n_pages_;
  Pages pages_;
  std::vector<Table> tables_;                 // [n_layers, n_sequences]
  std::vector<AttentionSequence> sequences_;  // [n_layers, n_sequences]
  std::vector<float> q_, out_;
};

Setup::Setup(const MeasureShape& shape)
    : shape_(shape),
      pages_per_head_(
          static_cast<size_t>((shape.depth + shape.n_queries + page_rows(shape) - 1) / page_rows(shape))),
      n_pages_(pages_per_head_ * static_cast<size_t>(shape.n_layers * shape.n_sequences * shape.n_kv_heads)),
      pages_(n_pages_, shape.head_dim, shape.type) {
  fill_pages();
  std::vector<kv::PageId> ids(n_pages_);
  std::iota(ids.begin(), ids.end(), kv::PageId{0});
  if (shape.shuffled) std::shuffle(ids.begin(), ids.end(), std::mt19937(1));
  const int n_rows = shape.depth + shape.n_queries;
  const int rows = page_rows(shape);
  tables_.resize(static_cast<size_t>(shape.n_layers * shape.n_sequences));
  size_t next = 0;
  for (Table& table : tables_) {
    for (int h = 0; h < shape.n_kv_heads; ++h) {
      std::vector<kv::TableEntry>& entries = table.entries.emplace_back();
      for (int row = 0; row < n_rows; row += rows) {
        entries.push_back({.page = ids[next++],
                           .first_row = static_cast<uint32_t>(row),
                           .rows_used = static_cast<uint16_t>(std::min(rows, n_rows - row)),
                           .type = shape.type});
      }
    }
    for (const auto& entries : table.entries) table.heads.push_back({.entries = entries, .n_rows = n_rows});
    const int sequence = static_cast<int>(sequences_.size()) % shape.n_sequences;
    AttentionSequence view;
    view.first_query = sequence * shape.n_queries;
    view.n_queries = shape.n_queries;
    view.heads = table.heads;
    sequences_.push_back(view);
  }
  q_.resize(static_cast<size_t>(shape.n_sequences * shape.n_queries * shape.n_heads * shape.head_dim));
  out_.resize(q_.size());
  for (size_t i = 0; i < q_.size(); ++i) q_[i] = std::sin(static_cast<float>(i) * 1.7f);
}

void Setup::fill_pages() {
  const size_t head_dim = static_cast<size_t>(shape_.head_dim);
  const int n_rows = page_rows(shape_);
  std::vector<float> rows(head_dim * static_cast<size_t>(n_rows));
  for (size_t id = 0; id < n_pages_; ++id) {
    const kv::PageRef page = pages_.memory().page(static_cast<kv::PageId>(id));
    if (id >= 64) {  // the same rows again: writing all of them would take longer than measuring
      const kv::PageRef from = pages_.memory().page(static_cast<kv::PageId>(id % 64));
      std::copy_n(from.payload, pages_.memory().payload_bytes, page.payload);
      if (page.side != nullptr)
        std::copy_n(from.side, kv::page_side_bytes(shape_.type) / sizeof(float), page.side);
      continue;
    }
    for (int r = 0; r < n_rows; ++r) {
      float* row = rows.data() + head_dim * static_cast<size_t>(r);
      for (size_t c = 0; c < head_dim; ++c) {
        row[c] = std::cos(static_cast<float>(id * 977 + c * 13) + static_cast<float>(r));
      }
      if (!kv::is_quantized(shape_.type)) kv::write_row(page, shape_.type, shape_.head_dim, r, row, row);
    }
    if (kv::is_quantized(shape_.type))
      kv::quantize_page(page, shape_.type, shape_.head_dim, n_rows, rows.data(), rows.data());
  }
}

AttentionBatch Setup::batch(int layer) {
  const size_t n_sequences = static_cast<size_t>(shape_.n_sequences);
  const size_t stride = static_cast<size_t>(shape_.n_heads * shape_.head_dim);
  AttentionBatch batch;
  batch.shape.n_heads = shape_.n_heads;
  batch.shape.n_kv_heads = shape_.n_kv_heads;
  batch.shape.head_dim = shape_.head_dim;
  batch.shape.scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
  batch.pages = pages_.memory();
  batch.sequences = std::span(sequences_).subspan(static_cast<size_t>(layer) * n_sequences, n_sequences);
  batch.q = q_.data();
  batch.out = out_.data();
  batch.q_stride = batch.out_stride = stride;
  return batch;
}

void count_work(const MeasureShape& shape, Measured& measured) {
  const double n = shape.n_queries, layers = shape.n_layers * shape.n_sequences;
  const double pairs = n * shape.depth + n * (n + 1) / 2;
  measured.flop = layers * 4 * shape.head_dim * shape.n_heads * pairs;
  const double row_bytes =
      static_cast<double>(kv::page_payload_bytes(shape.head_dim) + kv::page_side_bytes(shape.type)) /
      page_rows(shape);
  measured.bytes = layers * shape.n_kv_heads * (shape.depth + n) * row_bytes;
}

}  // namespace

Measured measure_attention(const AttentionKernel& kernel, const MeasureShape& shape, int n_threads,
                           int repetitions, const RunOnThreads& run_on_threads) {
  Setup setup(shape);
  AttentionWork work(kernel);
  Measured measured;
  count_work(shape, measured);
  for (int i = -1; i < repetitions; ++i) {  // one before them warms up
    const auto begin = std::chrono::steady_clock::now();
    for (int layer = 0; layer < shape.n_layers; ++layer) {
      work.plan(setup.batch(layer), n_threads);
      run_on_threads([&](const WorkRange& range) { work.run(range); });
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (i >= 0) measured.seconds.push_back(seconds.count());
  }
  return measured;
}

}  // namespace fastcache::attention
