// SPDX-License-Identifier: Apache-2.0
#include "press/layer_input.h"

#include "kv/head_reader.h"

namespace fastcache::press {

void LayerInput::read(int head, int begin, int n, float* k, float* v) const {
  kv::read_head_rows(memory_, head_dim_, sequence_->head_rows(layer_, head), n_staying(head) + begin, n, k,
                     v);
}

}  // namespace fastcache::press
