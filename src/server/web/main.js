// SPDX-License-Identifier: Apache-2.0
import {init_key} from "./api.js";
import {init_chat, load_model} from "./chat.js";
import {$, set_text} from "./dom.js";
import {follow} from "./feed.js";
import {bytes, count} from "./format.js";
import {forget_rate, show_glance, show_rate, token_rate} from "./glance.js";
import {add_sample, init_history} from "./history.js";
import {init_pool, show_pool} from "./pool.js";
import {show_requests, sweep_requests} from "./requests.js";
import {init_settings, load_presses} from "./settings.js";

let last = null;  // {pool, tokens_per_s, seen_ms}: of the newest state

function on_state({time_ms, state}) {
  const {model, pool} = state;
  set_text($("model"), model.name);
  $("model").title = `${count(model.context_tokens)} tokens of context, ${model.n_layers} layers, `
    + `${bytes(model.kv_bytes_per_token)} of KV per token`;
  last = {pool, tokens_per_s: token_rate(time_ms, state.totals.generated_tokens), seen_ms: performance.now()};
  show_rate(last.tokens_per_s);
  show_pool(pool);
  show_glance(state);
  show_requests(state);
}

// What the server offers may be another after each time it was away. A message can be sent without it.
async function load_offers() {
  try {
    await Promise.all([load_presses(), load_model()]);
  } catch (error) {
    console.warn("what the server offers could not be read:", error);
  }
}

function on_link(kind, sentence) {
  if (kind === "live" && $("link").dataset.link !== "live") load_offers();
  $("link").dataset.link = kind;
  set_text($("link"), sentence);
  document.body.classList.toggle("stale", kind !== "live");
  if (kind !== "live") last = null;
}

function every_second() {
  sweep_requests();
  if (!last) return;
  if (performance.now() - last.seen_ms > 1500) {  // the feed is silent while nothing changes
    forget_rate();
    last.tokens_per_s = 0;
    show_rate(0);
  }
  add_sample({time_ms: Date.now(), pool: last.pool, tokens_per_s: last.tokens_per_s});
}

function show_view(name) {
  document.body.dataset.view = name;
  for (const button of document.querySelectorAll("nav button"))
    button.setAttribute("aria-pressed", String(button.dataset.show === name));
}

function show_example() {
  const base = new URL("v1", location.href).href;
  set_text($("base-url"), base);
  set_text($("example"), `curl ${base}/chat/completions \\
  -H 'Content-Type: application/json' -d '{
  "messages": [{"role": "user", "content": "Hello"}],
  "kv_compression": {"method": "knorm", "ratio": 0.8}
}'`);
}

init_key();
init_pool();
init_history();
init_settings();
init_chat();
show_example();
for (const button of document.querySelectorAll("nav button"))
  button.addEventListener("click", () => show_view(button.dataset.show));
setInterval(every_second, 1000);
follow(on_state, on_link);
