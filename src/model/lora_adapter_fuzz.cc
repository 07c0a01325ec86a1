// SPDX-License-Identifier: Apache-2.0
// Any bytes as an adapter's file: refused with one Error, or an adapter whose products are finite.
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "model/lora_adapter.h"

namespace {

using namespace fastcache;

const model::HParams& hparams() {
  static const model::HParams made = [] {
    model::HParams h;
    h.architecture = &model::architectures()[0];
    h.n_layers = 1;
    h.n_embd = h.n_ff = 32;
    h.n_heads = 2;
    h.n_kv_heads = 1;
    h.head_dim = 16;
    return h;
  }();
  return made;
}

void use(const model::LoraAdapter& adapter) {
  const model::LoraLayer layer = adapter.layer(0);
  for (const linear::LowRank* part : {layer.qkv, layer.output, layer.gate_up, layer.down}) {
    if (part == nullptr) continue;
    const std::vector<float> x(static_cast<size_t>(part->n_in()), 0.0f);
    std::vector<float> hidden(static_cast<size_t>(part->hidden_width()), NAN);
    float out[16] = {};
    const float* from = x.data();
    float* to = hidden.data();
    part->reduce({&from, 1}, {&to, 1});
    const float* sum = hidden.data();
    part->add_strip(0, {&sum, 1}, out);
    for (const float number : out) {
      if (number != 0) std::abort();  // zeros times what is finite
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  set_log_level("off");
  const int file = memfd_create("adapter", MFD_CLOEXEC);
  if (file < 0 || write(file, data, size) != static_cast<ssize_t>(size)) std::abort();
  try {
    use(model::LoraAdapter("/proc/self/fd/" + std::to_string(file), hparams()));
  } catch (const Error& error) {
    if (std::string(error.what()).empty()) std::abort();
  }
  close(file);
  return 0;
}
