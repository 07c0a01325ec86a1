// SPDX-License-Identifier: Apache-2.0
// Decoding attention over pages of each type, on one thread and by its own CPU time, so that neighbours on
// the machine count for little: what fewer bits bring.
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "attention/attention_measure.h"

namespace fastcache::attention {
namespace {

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// All layers of one step of a 135M model; the fastest of some.
void decode(benchmark::State& state) {
  const MeasureShape shape{.type = static_cast<kv::KvType>(state.range(0)),
                           .depth = static_cast<int>(state.range(1))};
  constexpr int kSteps = 15;
  for (auto _ : state) {
    std::vector<double> seconds;  // of each layer of each step
    const auto alone = [&](const auto& work) {
      const double begin = thread_seconds();
      TaskCounter tasks;
      work({0, 1, &tasks});
      seconds.push_back(thread_seconds() - begin);
    };
    const Measured measured = measure_attention(attention_kernel(), shape, 1, kSteps, alone);
    double best = 1e9;
    for (size_t first = 0; first < seconds.size(); first += shape.n_layers) {
      double step = 0;
      for (int layer = 0; layer < shape.n_layers; ++layer) step += seconds[first + layer];
      best = std::min(best, step);
    }
    state.SetIterationTime(best);
    state.counters["MB"] = measured.bytes / 1e6;
    state.counters["GB/s"] = measured.bytes / best / 1e9;
  }
  state.SetLabel(kv::kv_type_name(shape.type));
}

BENCHMARK(decode)
    ->ArgNames({"type", "depth"})
    ->ArgsProduct({{1, 2, 3, 4, 5}, {4096}})
    ->UseManualTime()
    ->Iterations(3)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace fastcache::attention
