// SPDX-License-Identifier: Apache-2.0
// What the user chose for his next message; kept from visit to visit.
import {get_json} from "./api.js";
import {$, element, keep, kept, set_text} from "./dom.js";

const fields = ["press", "ratio", "system", "temperature", "max-tokens"];
const stored = (id) => `fastcache.${id}`;
let presses = [];

function chosen_press() {
  return presses.find((press) => press.name === $("press").value);
}

function show_press() {
  const press = chosen_press();
  $("press-row").classList.toggle("removes", press?.removes === true);
  set_text($("ratio-text"), `${Math.round(100 * $("ratio").value)}\u202f% of the rows`);
  set_text($("press-summary"), press ? `keeps ${press.summary.replace(/^keeps /, "")}` : "");
}

export function init_settings() {
  for (const id of fields) {
    const value = kept("localStorage", stored(id));
    if (value !== null && id !== "press") $(id).value = value;
    $(id).addEventListener("input", () => {
      keep("localStorage", stored(id), $(id).value);
      show_press();
    });
  }
  show_press();
}

export async function load_presses() {
  const before = presses.length ? $("press").value : kept("localStorage", stored("press"));
  // One press by itself: those around others want a text.
  presses = (await get_json("fastcache/presses")).presses.filter((press) => press.wraps === 0);
  $("press").replaceChildren(...presses.map((press) => element("option", {value: press.name}, press.name)));
  if (presses.some((press) => press.name === before)) $("press").value = before;
  show_press();
}

// The fields of a request that the settings decide. Nothing if the user has to correct a field first.
export function request_fields() {
  for (const id of ["temperature", "max-tokens"]) {
    if ($(id).checkValidity()) continue;
    $("settings").open = true;
    $(id).reportValidity();
    return null;
  }
  const compression = {method: $("press").value};
  if (chosen_press()?.removes) compression.ratio = Number($("ratio").value);
  return {
    temperature: Number($("temperature").value),
    max_tokens: Number($("max-tokens").value),
    kv_compression: compression,
  };
}

export const system_prompt = () => $("system").value.trim();
