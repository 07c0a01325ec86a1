// SPDX-License-Identifier: Apache-2.0
// Cost of writing, reading and moving rows, page after page as prefill does it. Equality is
// page_layout_test's matter.
#include <benchmark/benchmark.h>

#include <vector>

#include "kv/page_layout.h"

namespace fastcache::kv {
namespace {

constexpr int kHeadDim = 64;
constexpr int kPages = 256;  // 1 MiB: the cache level that a layer's pages sit in

struct Fixture {
  explicit Fixture(KvType t) : type(t), payload(kPages * page_payload_bytes(kHeadDim)), side(kPages * 64) {}
  PageRef page(int i) { return {payload.data() + i * page_payload_bytes(kHeadDim), side.data() + i * 64}; }
  KvType type;
  std::vector<std::byte> payload;
  std::vector<float> side;
  std::vector<float> k = std::vector<float>(kHeadDim, 0.7f), v = std::vector<float>(kHeadDim, -0.3f);
};

template <class Body>
void for_rows(benchmark::State& state, Body body) {
  Fixture f{static_cast<KvType>(state.range(0))};
  const int n = rows_per_page(f.type);
  for (auto _ : state)
    for (int row = 0; row < n * kPages; ++row) body(f, f.page(row / n), row % n);
  state.SetItemsProcessed(state.iterations() * n * kPages);
  state.SetLabel(kv_type_name(f.type));
}

void WriteRow(benchmark::State& state) {
  for_rows(state, [](Fixture& f, PageRef page, int row) {
    write_row(page, f.type, kHeadDim, row, f.k.data(), f.v.data());
  });
}

void ReadRow(benchmark::State& state) {
  for_rows(state, [](Fixture& f, PageRef page, int row) {
    read_row(page, f.type, kHeadDim, row, f.k.data(), f.v.data());
  });
}

void CopyRow(benchmark::State& state) {
  for_rows(state,
           [](Fixture& f, PageRef page, int row) { copy_row(page, row, f.page(0), 0, f.type, kHeadDim); });
}

BENCHMARK(WriteRow)->DenseRange(0, 2);
BENCHMARK(ReadRow)->DenseRange(0, 2);
BENCHMARK(CopyRow)->DenseRange(0, 2);

}  // namespace
}  // namespace fastcache::kv
