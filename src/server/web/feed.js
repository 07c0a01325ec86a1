// SPDX-License-Identifier: Apache-2.0
// The live state: /fastcache/events, again and again for as long as the page is open.
import {ApiError, call, error_of, events, key_given} from "./api.js";

const silence_ms = 45_000;  // the server says something at least every 15 s
const longest_pause_ms = 10_000;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function watch_once(on_state, on_link) {
  const controller = new AbortController();
  let timer = 0;
  const still_there = () => {
    clearTimeout(timer);
    timer = setTimeout(() => controller.abort(), silence_ms);
  };
  try {
    const response = await call("fastcache/events", {signal: controller.signal});
    if (!response.ok) throw await error_of(response);
    still_there();
    for await (const text of events(response, still_there)) {
      on_link("live", "live");
      on_state(JSON.parse(text));
    }
  } finally {
    clearTimeout(timer);
  }
}

// on_link(kind, sentence): live, connecting, or lost. Never ends.
export async function follow(on_state, on_link) {
  let pause_ms = 500;
  const heard = (state) => {
    pause_ms = 500;
    on_state(state);
  };
  for (;;) {
    let why = "server gone";
    try {
      await watch_once(heard, on_link);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        on_link("lost", "key needed");
        await key_given();
        continue;
      }
      if (error instanceof ApiError) why = error.message;
    }
    on_link("lost", why);
    await sleep(pause_ms);
    pause_ms = Math.min(2 * pause_ms, longest_pause_ms);
  }
}
