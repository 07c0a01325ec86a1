// SPDX-License-Identifier: Apache-2.0
// Requests to the server that sent this page. Paths are relative, so that the page also works below a prefix of
// a reverse proxy.
import {$, keep, kept} from "./dom.js";

const stored_name = "fastcache.key";
let key = kept("sessionStorage", stored_name) ?? "";
let asking = null;  // the dialog's promise while it is open: many requests may be refused at once
let waiting_for_key = [];

export class ApiError extends Error {
  constructor(status, message, retry_after_s = 0) {
    super(message);
    this.status = status;
    this.retry_after_s = retry_after_s;
  }
}

function set_key(value) {
  key = value;
  keep("sessionStorage", stored_name, value || null);
  show_button();
  for (const resolve of waiting_for_key.splice(0)) resolve();
}

function show_button() {
  $("key-button").hidden = !key && waiting_for_key.length === 0;
  $("key-button").textContent = key ? "Forget key" : "Enter key";
}

// For those who need no answer at once: resolves when the user has given a key.
export function key_given() {
  return new Promise((resolve) => {
    waiting_for_key.push(resolve);
    show_button();
  });
}

function ask_for_key(was_refused) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = $("key-dialog");
    $("key-why").textContent = was_refused ? "The key was refused. Look for a typing error." : "";
    $("key").value = "";
    dialog.returnValue = "cancel";
    dialog.addEventListener("close", () => {
      asking = null;
      const entered = $("key").value.trim();
      if (dialog.returnValue !== "use" || !entered) return reject(new ApiError(401, "This server wants a key."));
      set_key(entered);
      resolve();
    }, {once: true});
    dialog.showModal();
  });
  return asking;
}

export function init_key() {
  $("key-cancel").addEventListener("click", () => $("key-dialog").close("cancel"));
  show_button();
  $("key-button").addEventListener("click", () => {
    if (!key) return ask_for_key(false).catch(() => {});
    keep("sessionStorage", stored_name, null);
    location.reload();
  });
}

// The response, whatever its status but 401: then the user is asked for a key. Rejects with ApiError if he gives
// none, and as fetch() does.
export async function call(path, options = {}) {
  for (;;) {
    const used = key;
    const headers = new Headers(options.headers);
    if (used) headers.set("Authorization", `Bearer ${used}`);
    const response = await fetch(path, {...options, headers, cache: "no-store"});
    if (response.status !== 401) return response;
    if (used === key) await ask_for_key(used !== "");
  }
}

// What a response that is not ok says, as an ApiError.
export async function error_of(response) {
  let message = `The server answered ${response.status} ${response.statusText}`.trim();
  try {
    message = (await response.json()).error.message ?? message;
  } catch {
    // a proxy's page, say: the status has to do
  }
  return new ApiError(response.status, String(message), Number(response.headers.get("Retry-After")) || 0);
}

export async function get_json(path) {
  const response = await call(path);
  if (!response.ok) throw await error_of(response);
  return response.json();
}

// The data of each server-sent event. on_bytes is called for everything that comes, comments too.
export async function* events(response, on_bytes = () => {}) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return;
      on_bytes();
      const lines = (rest + decoder.decode(value, {stream: true})).split("\n");
      rest = lines.pop();
      for (const raw of lines) {
        const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
        if (line.startsWith("data:")) data.push(line.slice(line.startsWith("data: ") ? 6 : 5));
        if (line !== "" || data.length === 0) continue;
        yield data.join("\n");
        data = [];
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
