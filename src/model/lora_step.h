// SPDX-License-Identifier: Apache-2.0
// The operation that an adapter adds in front of a matrix product; the product itself adds the rest. Part of
// step_ops.
#pragma once

#include "model/step_ops.h"

namespace fastcache::model {

const StepContext::AdaptedRows& adapted_rows(const StepContext& context, Rows rows);

// A x of the adapted rows -> lora_hidden; x: as the product behind it sees the input. Nothing is added to the
// graph where lora is null.
void add_lora_input(StepGraph& graph, StepContext& context, Rows rows, const linear::Activations& input,
                    const linear::LowRank* lora);

}  // namespace fastcache::model
