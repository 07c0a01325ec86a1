// SPDX-License-Identifier: Apache-2.0
#include <ggml.h>

#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "linear/kernels.h"
#include "linear/packed_impl.h"
#include "linear/source_blocks.h"

namespace fastcache::linear {
namespace {

std::string type_name(int ggml_type) {
  const bool known = ggml_type >= 0 && ggml_type < GGML_TYPE_COUNT;
  const char* name = known ? ggml_type_name(static_cast<enum ggml_type>(ggml_type)) : nullptr;
  return name != nullptr ? name : fmt::format("number {}", ggml_type);
}

const SourceType& checked_type(const WeightSource& source) {
  const SourceType* type = find_source_type(source.ggml_type);
  if (type == nullptr) {
    throw Error{
        Code::unsupported,
        fmt::format(
            "tensor '{}' has type {}, which linear layers cannot use; supported are Q4_0, Q4_1, Q5_0, "
            "Q5_1, Q8_0, Q2_K to Q6_K, F16, BF16 and F32",
            source.name, type_name(source.ggml_type))};
  }
  const int multiple = type->channels > kBlockChannels ? type->channels : kBlockChannels;
  if (source.n_in <= 0 || source.n_in % multiple != 0) {
    throw Error{Code::unsupported,
                fmt::format("tensor '{}' ({}) has {} input channels; they must be a multiple of {}",
                            source.name, type->name, source.n_in, multiple)};
  }
  if (source.n_out <= 0) {
    throw Error{Code::unsupported, fmt::format("tensor '{}' has no output channels", source.name)};
  }
  return *type;
}

void put_codes(const Format& format, const SourceBlock& block, int column, std::byte* codes) {
  for (int i = 0; i < kBlockChannels; ++i) {
    const int group = i / 4, byte = column * 4 + i % 4;
    if (format.codes == Codes::u8) {
      codes[group * 64 + byte] = static_cast<std::byte>(block.codes[i]);
    } else {
      codes[group / 2 * 64 + byte] |= static_cast<std::byte>(block.codes[i] << (4 * (group % 2)));
    }
  }
}

void put_scales(const Format& format, const SourceBlock& block, int column, std::byte* record) {
  for (int sub = 0; sub < format.sub_blocks; ++sub) {
    const size_t at = static_cast<size_t>(sub * kStripColumns + column);
    if (format.half_scales) {
      std::memcpy(record + at * 2, &block.half_scale[sub], 2);
      if (format.has_min) std::memcpy(record + format.scale_bytes() + at * 2, &block.half_min[sub], 2);
    } else {
      std::memcpy(record + at * 4, &block.scale[sub], 4);
      if (format.has_min) std::memcpy(record + format.scale_bytes() + at * 4, &block.min[sub], 4);
    }
  }
}

// Column `column` of a strip from one row of the file. The strip's memory is zero before.
void pack_row(const SourceType& type, const std::byte* row, int n_blocks, int column, std::byte* strip) {
  const Format& format = format_of(type.format);
  for (int b = 0; b < n_blocks; ++b) {
    std::byte* record = strip + format.record_bytes() * static_cast<size_t>(b);
    if (format.is_float()) {
      const size_t bytes = type.block_bytes;
      for (int i = 0; i < kBlockChannels; ++i) {
        std::memcpy(record + float_index(format.codes, i, column) * bytes,
                    row + static_cast<size_t>(b * kBlockChannels + i) * bytes, bytes);
      }
      continue;
    }
    SourceBlock block;
    type.read(row, b, block);
    put_scales(format, block, column, record);
    put_codes(format, block, column, record + format.codes_offset());
  }
}

void pack_segment(const SourceType& type, const WeightSource& source, const Segment& segment,
                  PackedMatrix::Impl& impl) {
  const int n_blocks = source.n_in / kBlockChannels;
  const size_t row_bytes = static_cast<size_t>(source.n_in / type.channels) * type.block_bytes;
  const auto* rows = static_cast<const std::byte*>(source.data);
  for (int i = 0; i < source.n_out; ++i) {
    pack_row(type, rows + row_bytes * static_cast<size_t>(i), n_blocks, i % kStripColumns,
             impl.memory.data() + impl.strip_offset(segment, i / kStripColumns));
  }
}

}  // namespace

PackedMatrix::PackedMatrix() : impl_(std::make_unique<Impl>()) {}
PackedMatrix::~PackedMatrix() = default;
PackedMatrix::PackedMatrix(PackedMatrix&&) noexcept = default;
PackedMatrix& PackedMatrix::operator=(PackedMatrix&&) noexcept = default;

int PackedMatrix::n_out() const { return impl_->n_out; }
int PackedMatrix::n_in() const { return impl_->n_in; }
size_t PackedMatrix::bytes() const { return impl_->memory.size(); }

std::string PackedMatrix::description() const {
  std::string text;
  for (const Segment& segment : impl_->segments) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", segment.type_name, segment.n_columns);
  }
  return text;
}

InputForms PackedMatrix::input_forms() const {
  InputForms forms;
  for (const Segment& segment : impl_->segments) {
    const Format& format = format_of(segment.format);
    const bool bf16 = format.codes == Codes::bf16;
    forms |= {.int8_blocks = !format.is_float(), .bf16 = bf16, .f32 = format.is_float() && !bf16};
  }
  return forms;
}

bool can_pack(int ggml_type) { return find_source_type(ggml_type) != nullptr; }

namespace {

// Checks the sources and lists them as segments, without places in memory.
void add_segments(std::span<const WeightSource> sources, PackedMatrix::Impl& impl) {
  if (sources.empty()) throw Error{Code::internal, "pack() was called without a tensor"};
  impl.n_in = sources[0].n_in;
  for (const WeightSource& source : sources) {
    const SourceType& type = checked_type(source);
    if (source.n_in != impl.n_in) {
      throw Error{Code::invalid_model,
                  fmt::format("tensor '{}' has {} input channels, but '{}' beside it has {}", source.name,
                              source.n_in, sources[0].name, impl.n_in)};
    }
    Segment segment;
    segment.format = type.format;
    segment.type_name = type.name;
    segment.first_column = impl.n_out;
    segment.n_columns = source.n_out;
    segment.first_strip = impl.n_strips;
    impl.segments.push_back(segment);
    impl.n_out += source.n_out;
    impl.n_strips += ceil_div(source.n_out, kStripColumns);
  }
}

AlignedBuffer make_memory(size_t bytes, WeightArena* arena) {
  return arena == nullptr ? AlignedBuffer(bytes) : AlignedBuffer(bytes, *arena);
}

void place_one_after_the_other(PackedMatrix::Impl& impl, WeightArena* arena) {
  size_t bytes = 0;
  for (Segment& segment : impl.segments) {
    segment.offset = bytes;
    segment.run_strips = ceil_div(segment.n_columns, kStripColumns);
    bytes += (impl.strip_bytes(segment.format) * static_cast<size_t>(segment.run_strips) + 63) / 64 * 64;
  }
  impl.memory = make_memory(bytes, arena);
}

void place_alternating(PackedMatrix::Impl& impl, WeightArena* arena) {
  size_t run_bytes = 0;
  for (Segment& segment : impl.segments) {
    segment.offset = run_bytes;
    segment.run_strips = kBlockChannels / kStripColumns;
    run_bytes += impl.strip_bytes(segment.format) * static_cast<size_t>(segment.run_strips);
  }
  for (Segment& segment : impl.segments) segment.run_bytes = run_bytes;
  impl.memory =
      make_memory(run_bytes * static_cast<size_t>(impl.segments[0].n_columns / kBlockChannels), arena);
}

void fill(std::span<const WeightSource> sources, PackedMatrix::Impl& impl) {
  for (size_t i = 0; i < sources.size(); ++i) {
    pack_segment(checked_type(sources[i]), sources[i], impl.segments[i], impl);
  }
}

}  // namespace

PackedMatrix pack(std::span<const WeightSource> sources, WeightArena* arena) {
  kernels();  // a wrong FASTCACHE_ISA is reported here: matmul() cannot throw
  PackedMatrix matrix;
  add_segments(sources, matrix.impl());
  place_one_after_the_other(matrix.impl(), arena);
  fill(sources, matrix.impl());
  return matrix;
}

PackedMatrix pack_gate_up(const WeightSource& gate, const WeightSource& up, WeightArena* arena) {
  kernels();
  if (gate.n_out != up.n_out || gate.n_out % kBlockChannels != 0) {
    throw Error{
        Code::unsupported,
        fmt::format(
            "tensors '{}' and '{}' have {} and {} output channels; they must be equal and a multiple of 32",
            gate.name, up.name, gate.n_out, up.n_out)};
  }
  const WeightSource sources[] = {gate, up};
  PackedMatrix matrix;
  matrix.impl().gate_up = true;
  add_segments(sources, matrix.impl());
  place_alternating(matrix.impl(), arena);
  fill(sources, matrix.impl());
  return matrix;
}

}  // namespace fastcache::linear
