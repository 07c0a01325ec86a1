// SPDX-License-Identifier: Apache-2.0
// What the start page shows, as JSON. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "fastcache/engine.h"

namespace fastcache::server {

// {"model": {...}, "pool": {bytes by state}, "queues": {requests and answers by stage}, "totals": {...},
//  "requests": [...], "requests_left_out": 0}. Two equal texts: nothing happened in between.
// `requests` are those in front; at most kRequestsShown of them are in the text, running ones first, and
// totals.generated_tokens counts what all of them have generated besides what the ended ones had.
inline constexpr size_t kRequestsShown = 64;
std::string state_json(const EngineStats& stats, std::span<const RequestFigures> requests,
                       const ModelFacts& model);

// {"time_ms": since the epoch, "state": what state_json() made}
std::string stamped_json(int64_t time_ms, const std::string& state);

// {"presses": [{"name", "removes", "summary", "parameters": [{"name", "default", "min", "max", "whole",
// "help"}]}]}: all that a user may ask for, in the registry's order.
std::string presses_json();

}  // namespace fastcache::server
