// SPDX-License-Identifier: Apache-2.0
// The table of live requests. One that ended stays for a moment, dimmed: short ones would only flash by.
import {$, element, set_text} from "./dom.js";
import {bytes, count, duration, rate, share, short_count} from "./format.js";

const lingers_ms = 4000;
const rows = new Map();  // id -> {root, the parts that change, ended_ms}

function make_row(id) {
  const row = {ended_ms: 0};
  const cell = (name, ...children) => (row[name] = element("td", {class: name}, ...children));
  row.held = element("i", {class: "held"});
  row.meter = element("div", {class: "meter", role: "img"}, row.held);
  row.rows_text = element("span", {class: "figure"});
  row.bytes_text = element("span", {class: "dim figure"});
  row.press = element("span", {class: "dim"});
  row.name = element("span", {class: "figure"}, `#${id}`);
  row.pill = element("span", {class: "pill"});
  row.root = element("tr", {},
    element("th", {scope: "row"}, row.name, " ", row.press),
    cell("stage", row.pill),
    cell("tokens"),
    element("td", {class: "rows"}, row.meter, element("div", {class: "under"}, row.rows_text, row.bytes_text)),
    cell("ttft"),
    cell("speed"));
  return row;
}

function fill_row(row, request) {
  const {rows_held: held, rows_uncompressed: full} = request;
  set_text(row.press, request.press);
  set_text(row.pill, request.stage);
  row.root.dataset.stage = request.stage;
  set_text(row.tokens, `${short_count(request.prompt_tokens)} + ${short_count(request.generated_tokens)}`);
  row.tokens.title = `prompt ${count(request.prompt_tokens)} (${count(request.cached_tokens)} from the prefix cache), `
    + `generated ${count(request.generated_tokens)}`;
  row.held.style.width = full > 0 ? `${(100 * held) / full}%` : "0";
  row.meter.classList.toggle("empty", full === 0);
  row.meter.classList.toggle("saves", held < full);
  row.meter.setAttribute("aria-label", `${share(held, full)} of the uncompressed rows`);
  set_text(row.rows_text, full > 0 ? `${short_count(held)} of ${short_count(full)}` : "none yet");
  set_text(row.bytes_text, request.bytes > 0 ? bytes(request.bytes) : "");
  set_text(row.ttft, request.ttft_ms > 0 ? duration(request.ttft_ms) : duration(request.age_ms) + "…");
  row.ttft.classList.toggle("dim", request.ttft_ms === 0);
  const since_first_ms = request.age_ms - request.ttft_ms;
  const has_speed = request.generated_tokens > 1 && since_first_ms > 0 && request.ttft_ms > 0;
  set_text(row.speed, has_speed ? rate((1e3 * (request.generated_tokens - 1)) / since_first_ms) : "–");
}

function end_row(row, now_ms) {
  row.ended_ms = now_ms;
  row.root.dataset.stage = "ended";
  set_text(row.pill, "ended");
}

// The rows of those that ended long enough ago.
export function sweep_requests(now_ms = performance.now()) {
  for (const [id, row] of rows) {
    if (row.ended_ms === 0 || now_ms - row.ended_ms < lingers_ms) continue;
    row.root.remove();
    rows.delete(id);
  }
  $("requests").hidden = rows.size === 0;
  $("requests-none").hidden = rows.size > 0;
}

export function show_requests({requests, requests_left_out: left_out}) {
  const body = $("requests").tBodies[0];
  const live = new Set(requests.map((request) => request.id));
  for (const [id, row] of rows) if (!live.has(id) && row.ended_ms === 0) end_row(row, performance.now());
  for (const request of requests) {
    let row = rows.get(request.id);
    if (!row) {
      row = make_row(request.id);
      rows.set(request.id, row);
      body.append(row.root);
    }
    row.ended_ms = 0;
    fill_row(row, request);
  }
  set_text($("requests-more"), left_out > 0 ? `and ${count(left_out)} more` : "");
  sweep_requests();
}
