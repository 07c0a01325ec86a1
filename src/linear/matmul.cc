// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cassert>
#include <cstring>

#include "linear/kernels.h"
#include "linear/low_rank.h"
#include "linear/matmul_plan.h"
#include "linear/packed_impl.h"

namespace fastcache::linear {
namespace {

using TileOut = float[kTileRows * kStripColumns];

bool is_gate(Epilogue epilogue) { return epilogue == Epilogue::silu_mul || epilogue == Epilogue::gelu_mul; }

void check(const MatmulArgs& args) {
  assert(args.weights != nullptr && args.input != nullptr && args.n_rows <= args.input->n_rows());
  assert(args.weights->n_in() == args.input->n_in());
  [[maybe_unused]] const InputForms needed = args.weights->input_forms(), there = args.input->forms();
  assert(needed.int8_blocks <= there.int8_blocks && needed.bf16 <= there.bf16 && needed.f32 <= there.f32);
  assert(args.weights->impl().gate_up == is_gate(args.epilogue));
  assert(args.low_rank == nullptr || (args.hidden != nullptr && args.low_rank->n_in() == args.input->n_in()));
  if (is_gate(args.epilogue)) {
    assert(args.out_activations != nullptr && args.out_activations->n_in() == args.weights->n_out() / 2);
    assert(args.out_activations->n_rows() >= args.n_rows);
  } else {
    assert(args.out != nullptr && args.out_stride >= static_cast<size_t>(args.weights->n_out()));
    assert(args.epilogue != Epilogue::add || args.residual != nullptr);
  }
  (void)args;
}

// Of one block of a tile of rows, as a kernel of the format reads it.
size_t input_bytes(const Format& format) {
  if (!format.is_float()) return sizeof(QuantizedRecord) + sizeof(float) * kTileRows * format.sub_blocks;
  return kTileRows * kBlockChannels * (format.codes == Codes::bf16 ? sizeof(bf16_t) : sizeof(float));
}

MatmulPlan plan(const MatmulArgs& args, int n_threads) {
  const PackedMatrix::Impl& weights = args.weights->impl();
  const Format& format = format_of(weights.segments[0].format);
  const int n_blocks = weights.n_in / kBlockChannels;
  MatmulShape shape;
  shape.n_rows = args.n_rows;
  shape.n_in = weights.n_in;
  shape.strips_per_unit = weights.gate_up ? 4 : 1;
  shape.n_units = weights.n_strips / shape.strips_per_unit;
  shape.strip_bytes = static_cast<int>(weights.strip_bytes(weights.segments[0].format));
  shape.tile_bytes = static_cast<int>(input_bytes(format)) * n_blocks;
  shape.n_threads = n_threads;
  return plan_matmul(shape);
}

struct Task {
  int first_tile, end_tile, first_unit, end_unit;
};

class Worker {
 public:
  Worker(const KernelTable& table, const MatmulArgs& args)
      : table_(table), args_(args), weights_(args.weights->impl()) {}

  void run(const Task& task) const {
    for (int unit = task.first_unit; unit < task.end_unit; ++unit) {
      if (weights_.gate_up) {
        gate_unit(unit, task);
      } else {
        plain_unit(unit, task);
      }
    }
  }

 private:
  int rows_of(int tile) const { return std::min(kTileRows, args_.n_rows - tile * kTileRows); }

  TileArgs tile_args(const Strip& strip, int tile) const {
    TileArgs tile_args;
    tile_args.strip = strip.data;
    tile_args.n_blocks = weights_.n_in / kBlockChannels;
    tile_args.n_rows = rows_of(tile);
    tile_args.input = args_.input->tile(tile);
    return tile_args;
  }

  void multiply(const Strip& strip, int tile, float* out) const {
    TileArgs to = tile_args(strip, tile);
    to.out = out;
    table_.tile[static_cast<size_t>(strip.format)](to);
    for (int r = 0; args_.bias != nullptr && r < to.n_rows; ++r) {
      for (int c = 0; c < strip.n_columns; ++c)
        out[r * kStripColumns + c] += args_.bias[strip.first_column + c];
    }
    if (args_.low_rank != nullptr) args_.low_rank->add_strip(strip.first_column, hidden(tile), out);
  }

  std::span<const float* const> hidden(int tile) const {
    return {args_.hidden + tile * kTileRows, static_cast<size_t>(rows_of(tile))};
  }

  bool adapts(const Strip& strip, int tile) const {
    if (args_.low_rank == nullptr || !args_.low_rank->reaches(strip.first_column)) return false;
    return std::ranges::any_of(hidden(tile), [](const float* row) { return row != nullptr; });
  }

  void plain_unit(int unit, const Task& task) const {
    const Strip strip = weights_.strip(unit);
    const bool straight = strip.n_columns == kStripColumns && args_.bias == nullptr;
    for (int tile = task.first_tile; tile < task.end_tile; ++tile) {
      const size_t first =
          static_cast<size_t>(tile) * kTileRows * args_.out_stride + static_cast<size_t>(strip.first_column);
      if (!straight || adapts(strip, tile)) {
        alignas(64) TileOut sums;
        multiply(strip, tile, sums);
        write(sums, rows_of(tile), first, strip.n_columns);
        continue;
      }
      TileArgs to = tile_args(strip, tile);
      to.out = args_.out + first;
      to.out_stride = args_.out_stride;
      if (args_.epilogue == Epilogue::add) to.residual = args_.residual + first;
      table_.tile[static_cast<size_t>(strip.format)](to);
    }
  }

  void write(const float* from, int n_rows, size_t first, int n_columns) const {
    for (int r = 0; r < n_rows; ++r, from += kStripColumns) {
      const size_t at = first + static_cast<size_t>(r) * args_.out_stride;
      for (int c = 0; c < n_columns; ++c) {
        args_.out[at + c] = args_.epilogue == Epilogue::add ? args_.residual[at + c] + from[c] : from[c];
      }
    }
  }

  // 32 channels of gate and of up, and from them one finished block of the next matmul's input.
  void gate_unit(int unit, const Task& task) const {
    const int half = weights_.n_strips / 2;
    Strip strips[4];
    for (int i = 0; i < 4; ++i) strips[i] = weights_.strip((i / 2) * half + unit * 2 + i % 2);
    Activations& to = *args_.out_activations;
    for (int tile = task.first_tile; tile < task.end_tile; ++tile) {
      alignas(64) TileOut sums[4];
      for (int i = 0; i < 4; ++i) multiply(strips[i], tile, sums[i]);
      const int first_row = tile * kTileRows, first_channel = unit * kBlockChannels;
      const QuantizedSlots slots = to.slots(first_row, first_channel);
      GateTileArgs gate;
      gate.kind = args_.epilogue == Epilogue::silu_mul ? Gate::silu : Gate::gelu;
      gate.gate = sums[0];
      gate.up = sums[2];
      gate.n_rows = rows_of(tile);
      gate.slots = to.forms().int8_blocks ? &slots : nullptr;
      gate.rounded = to.forms().bf16 ? to.rounded_slot(first_row, first_channel) : nullptr;
      gate.values = to.forms().f32 ? to.value_slot(first_row, first_channel) : nullptr;
      table_.gate_tile(gate);
    }
  }

  const KernelTable& table_;
  const MatmulArgs& args_;
  const PackedMatrix::Impl& weights_;
};

}  // namespace

void matmul_with(const KernelTable& table, const MatmulArgs& args, const WorkRange& range) noexcept {
  if (args.n_rows <= 0) return;
  check(args);
  const MatmulPlan cut = plan(args, range.n_threads);
  const int n_tiles = ceil_div(args.n_rows, kTileRows);
  const int n_units = args.weights->impl().n_strips / (args.weights->impl().gate_up ? 4 : 1);
  const Worker worker(table, args);
  for (int i = range.tasks->take(); i < cut.n_tasks(); i = range.tasks->take()) {
    const int tile = i / cut.n_groups * cut.tiles_per_block, unit = i % cut.n_groups * cut.units_per_group;
    worker.run({tile, std::min(n_tiles, tile + cut.tiles_per_block), unit,
                std::min(n_units, unit + cut.units_per_group)});
  }
}

void matmul(const MatmulArgs& args, const WorkRange& range) noexcept { matmul_with(kernels(), args, range); }

}  // namespace fastcache::linear
