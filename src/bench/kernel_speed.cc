// SPDX-License-Identifier: Apache-2.0
#include "bench/kernel_speed.h"

#include <ggml.h>

#include <algorithm>
#include <array>

#include "attention/attention_measure.h"
#include "base/log.h"
#include "bench/statistics.h"
#include "linear/linear_measure.h"

namespace fastcache::bench {
namespace {

// A matrix product of one layer, as the graph stacks it.
struct Product {
  const char* name;
  std::string tensor;  // whose type is measured
  int64_t n_out_tensor;
  int n_in;
  int n_out;  // stacked
  linear::Epilogue epilogue;
};

std::vector<Product> products(const model::HParams& h) {
  const int q = h.n_heads * h.head_dim;
  const int kv = h.n_kv_heads * h.head_dim;
  return {{"qkv", "blk.0.attn_q.weight", q, h.n_embd, q + 2 * kv, linear::Epilogue::store},
          {"attention_output", "blk.0.attn_output.weight", h.n_embd, q, h.n_embd, linear::Epilogue::add},
          {"gate_up", "blk.0.ffn_gate.weight", h.n_ff, h.n_embd, 2 * h.n_ff, linear::Epilogue::silu_mul},
          {"down", "blk.0.ffn_down.weight", h.n_embd, h.n_ff, h.n_embd, linear::Epilogue::add}};
}

// The time that the machine would need if nothing but its slowest resource counted.
void set_limit(KernelSpeed& row, double operations, double peak, const char* peak_name, double bytes,
               double bandwidth) {
  const double compute_s = peak > 0 ? operations / peak : 0;
  const double memory_s = bandwidth > 0 ? bytes / bandwidth : 0;
  row.limit_s = std::max(compute_s, memory_s);
  row.limited_by = compute_s > memory_s ? peak_name : "memory";
  row.operations_per_s = operations / row.seconds;
  row.bytes_per_s = bytes / row.seconds;
}

struct Limit {
  double per_second;
  const char* name;
};

// What linear/ multiplies weights of this type with.
Limit arithmetic_limit(ggml_type type, const MachinePeak& peak) {
  if (ggml_is_quantized(type)) return {peak.int8_per_second, "int8"};
  if (type == GGML_TYPE_BF16 && peak.bf16_per_second > 0) return {peak.bf16_per_second, "bf16"};
  return {peak.f32_per_second, "f32"};
}

KernelSpeed measure_product(const std::string& name, int type, const linear::LinearCase& shape,
                            const MachinePeak& peak, ComputePool& compute) {
  const linear::LinearTiming timing = linear::measure_matmul(shape, compute);
  KernelSpeed row{.kernel = fmt::format("{} {} {} -> {}", name, ggml_type_name(static_cast<ggml_type>(type)),
                                        shape.n_in, shape.n_out),
                  .shape = fmt::format("{} rows", shape.n_rows),
                  .seconds = timing.seconds};
  const Limit limit = arithmetic_limit(static_cast<ggml_type>(type), peak);
  set_limit(row, timing.operations, limit.per_second, limit.name, timing.bytes, peak.read_bytes_per_second);
  return row;
}

KernelSpeed measure_paged_attention(const attention::MeasureShape& shape, const MachinePeak& peak,
                                    ComputePool& compute) {
  const attention::Measured measured =
      attention::measure_attention(attention::attention_kernel(), shape, compute.n_threads(), 7,
                                   [&](const auto& work) { compute.run(work); });
  KernelSpeed row{.kernel = fmt::format("attention {}", kv::kv_type_name(shape.type)),
                  .shape = shape.n_queries == 1
                               ? fmt::format("{} x decode at {}", shape.n_sequences, shape.depth)
                               : fmt::format("prefill {} at {}", shape.n_queries, shape.depth),
                  .seconds = percentile(measured.seconds, 50)};
  const bool f32 = shape.type == kv::KvType::f32 || peak.bf16_per_second == 0;
  set_limit(row, measured.flop, f32 ? peak.f32_per_second : peak.bf16_per_second, f32 ? "f32" : "bf16",
            measured.bytes, peak.read_bytes_per_second);
  return row;
}

}  // namespace

KernelReport measure_kernels(const model::GgufFile& file, const model::HParams& h, kv::KvType kv_type,
                             ComputePool& compute) {
  KernelReport report{.peak = measure_peak(compute), .kernels = {}};
  for (const Product& product : products(h)) {
    const int type = file.tensor(product.tensor, {product.n_in, product.n_out_tensor}).type;
    for (int n_rows : {1, 8, 32, 128, 512}) {
      report.kernels.push_back(measure_product(product.name, type,
                                               {.ggml_type = type,
                                                .n_out = product.n_out,
                                                .n_in = product.n_in,
                                                .n_rows = n_rows,
                                                .epilogue = product.epilogue},
                                               report.peak, compute));
    }
  }
  const int head_type = file.tensor(file.has_tensor("output.weight") ? "output.weight" : "token_embd.weight",
                                    {h.n_embd, h.n_vocab})
                            .type;
  for (int n_rows : {1, 32}) {
    report.kernels.push_back(measure_product(
        "logits", head_type, {.ggml_type = head_type, .n_out = h.n_vocab, .n_in = h.n_embd, .n_rows = n_rows},
        report.peak, compute));
  }
  attention::MeasureShape shape{.n_heads = h.n_heads,
                                .n_kv_heads = h.n_kv_heads,
                                .head_dim = h.head_dim,
                                .type = kv_type,
                                .n_layers = h.n_layers};
  for (const auto& [n_sequences, n_queries, depth] : std::vector<std::array<int, 3>>{
           {1, 512, 512}, {1, 512, 3584}, {1, 1, 1024}, {1, 1, 4096}, {32, 1, 1024}}) {
    shape.n_sequences = n_sequences;
    shape.n_queries = n_queries;
    shape.depth = depth;
    report.kernels.push_back(measure_paged_attention(shape, report.peak, compute));
  }
  shape.n_sequences = shape.n_queries = 1;
  shape.depth = 4096;
  for (const kv::KvType quantized : {kv::KvType::q8, kv::KvType::q4, kv::KvType::q2}) {
    shape.type = quantized;
    report.kernels.push_back(measure_paged_attention(shape, report.peak, compute));
  }
  return report;
}

}  // namespace fastcache::bench
