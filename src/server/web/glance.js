// SPDX-License-Identifier: Apache-2.0
// The figures that an operator looks at first: speed, first tokens, what compression saves, the queues.
import {$, set_text} from "./dom.js";
import {count, duration, median, rate, share} from "./format.js";

const window_ms = 2000;    // over which the speed is taken
const ttfts_kept = 100;

let marks = [];            // {time_ms, tokens} of the last window
const ttfts = new Map();   // request id -> ms, oldest first

// Tokens per second, all requests. time_ms is the server's.
export function token_rate(time_ms, tokens) {
  // fewer tokens than before: another server, or a request that ended between two readings
  if (marks.length && tokens < marks.at(-1).tokens) marks = [];
  marks.push({time_ms, tokens});
  while (marks.length > 2 && marks[1].time_ms <= time_ms - window_ms) marks.shift();
  const first = marks[0];
  const elapsed_ms = time_ms - first.time_ms;
  return elapsed_ms > 0 ? (1e3 * (tokens - first.tokens)) / elapsed_ms : 0;
}

// Nothing comes while nothing happens: then the speed is 0.
export function forget_rate() {
  marks = [];
}

function note_ttfts(requests) {
  for (const {id, ttft_ms} of requests) if (ttft_ms > 0) ttfts.set(id, ttft_ms);
  while (ttfts.size > ttfts_kept) ttfts.delete(ttfts.keys().next().value);
}

export function show_rate(tokens_per_s) {
  set_text($("tile-rate"), rate(tokens_per_s));
}

function show_tiles({requests, totals}) {
  note_ttfts(requests);
  set_text($("tile-ttft"), ttfts.size ? duration(median(ttfts.values())) : "–");
  set_text($("tile-ttft-of"), ttfts.size ? `median of the last ${ttfts.size}` : "median of those seen");
  const held = requests.reduce((sum, request) => sum + request.rows_held, 0);
  const full = requests.reduce((sum, request) => sum + request.rows_uncompressed, 0);
  set_text($("tile-rows"), share(held, full));
  set_text($("tile-hits"), share(totals.cached_tokens, totals.prompt_tokens));
}

function show_queues({queues, totals}) {
  for (const stage of $("stages").children) {
    const n = queues[stage.dataset.stage];
    set_text(stage.firstElementChild, count(n));
    stage.classList.toggle("idle", n === 0);
  }
  const n = totals.preemptions;
  set_text($("preemptions"), n ? `${count(n)} preemption${n === 1 ? "" : "s"} so far` : "");
}

export function show_glance(state) {
  show_tiles(state);
  show_queues(state);
}
