// SPDX-License-Identifier: Apache-2.0
// The pool of KV memory as a bar, by what its bytes are.
import {$, element, set_text} from "./dom.js";
import {bytes, share} from "./format.js";

// In the order in which they stand in the bar; a state's colour is --<name> in base.css.
export const states = [
  {name: "prefill", field: "prefill_bytes", label: "prefill"},
  {name: "decode", field: "decode_bytes", label: "decode"},
  {name: "compressed", field: "compressed_bytes", label: "compressed"},
  {name: "shared", field: "shared_bytes", label: "shared"},
  {name: "cached", field: "prefix_cached_bytes", label: "prefix cache"},
  {name: "free", field: "free_bytes", label: "free"},
];

// What the prefix cache holds alone is given up when it is needed, so it does not count as used.
export const used_bytes = (pool) => pool.total_bytes - pool.free_bytes - pool.prefix_cached_bytes;

const parts = new Map();  // name -> {segments, value, percent}

export function init_pool() {
  for (const {name, label} of states) {
    const segments = ["pool-bar", "strip"].map((id) => {
      const segment = element("i", {class: `fill-${name}`});
      $(id).append(segment);
      return segment;
    });
    const value = element("dd", {class: "figure"}, "–");
    const percent = element("dd", {class: "figure dim"});
    $("pool-legend").append(element("div", {},
      element("dt", {}, element("i", {class: `swatch fill-${name}`}), label), value, percent));
    parts.set(name, {segments, value, percent});
  }
}

export function show_pool(pool) {
  const spoken = [];
  for (const {name, field, label} of states) {
    const {segments, value, percent} = parts.get(name);
    for (const segment of segments) segment.style.flexGrow = pool[field] / pool.total_bytes;
    set_text(value, bytes(pool[field]));
    set_text(percent, share(pool[field], pool.total_bytes));
    if (pool[field] > 0) spoken.push(`${label} ${bytes(pool[field])}`);
  }
  $("pool-bar").setAttribute("aria-label", `KV pool: ${spoken.join(", ")}`);
  const used = used_bytes(pool);
  set_text($("pool-sum"), `${bytes(used)} of ${bytes(pool.total_bytes)} in use, ${share(used, pool.total_bytes)}`);
}
