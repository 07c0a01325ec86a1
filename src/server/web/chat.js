// SPDX-License-Identifier: Apache-2.0
// The conversation: what is sent to /v1/chat/completions, and what comes back piece by piece.
import {ApiError, call, error_of, events, get_json} from "./api.js";
import {AnswerView} from "./answer.js";
import {$, element} from "./dom.js";
import {has_pictures, init_pictures, set_model_sees, take_pictures, thumbnail} from "./pictures.js";
import {request_fields, system_prompt} from "./settings.js";

const turns = [];    // {role, content, view}; content: a text, or the parts of a message with pictures
let running = null;  // the AbortController of the answer that is coming
let model_id = "";   // of /v1/models

function show_running(is_running) {
  $("send").hidden = is_running;
  $("stop").hidden = !is_running;
  for (const button of document.querySelectorAll(".retry")) button.disabled = is_running;
}

function add_turn(turn) {
  turns.push(turn);
  $("welcome").hidden = true;
  $("log").append(turn.view);
  $("log").scrollTop = $("log").scrollHeight;
}

function drop_turn() {
  turns.pop().view.remove();
}

// Without questions that got no answer: templates want the roles in turns.
function messages() {
  const system = system_prompt();
  const list = turns
    .filter((turn, at) => turn.content !== "" && turns[at + 1]?.content !== "")
    .map(({role, content}) => ({role, content}));
  return system ? [{role: "system", content: system}, ...list] : list;
}

// Puts one chunk of the stream into `result`.
function take_chunk(chunk, result) {
  if (chunk.error) throw new ApiError(500, chunk.error.message ?? "The server ended the answer with an error.");
  if (chunk.usage) result.usage = chunk.usage;
  if (chunk.fastcache) result.cost = chunk.fastcache;
  const choice = chunk.choices?.[0];
  if (!choice) return;
  result.finish_reason = choice.finish_reason ?? result.finish_reason;
  const {content, reasoning_content} = choice.delta ?? {};
  if (!content && !reasoning_content) return;
  result.content += content ?? "";
  result.reasoning += reasoning_content ?? "";
  result.pieces += 1;
  result.timing.last_ms = performance.now();
  result.timing.first_ms ||= result.timing.last_ms;
}

async function stream(body, result, view, signal) {
  const response = await call("v1/chat/completions", {
    method: "POST",
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw await error_of(response);
  for await (const text of events(response)) {
    if (text === "[DONE]") {
      result.is_done = true;
      break;
    }
    take_chunk(JSON.parse(text), result);
    view.show(result.content, result.reasoning);
  }
  if (!result.is_done) throw new ApiError(0, "The connection ended before the answer did.");
}

function sentence(error) {
  if (error instanceof TypeError) return "The server cannot be reached.";
  if (!(error instanceof ApiError)) return String(error);
  return error.retry_after_s ? `${error.message} (try again in ${error.retry_after_s} s)` : error.message;
}

const notes = {length: "max tokens reached", stopped: "stopped"};

function describe({method, ratio}) {
  if (ratio === undefined) return method === "none" ? "uncompressed" : method;
  return `${method} ${Math.round(100 * ratio)}\u202f%`;
}

// Asks for the answer to the conversation as it stands.
async function answer() {
  const fields = request_fields();
  if (!fields || running) return;
  const result = {content: "", reasoning: "", pieces: 0, is_done: false, timing: {start_ms: performance.now()}};
  const body = {messages: messages(), stream: true, stream_options: {include_usage: true}, ...fields};
  if (model_id) body.model = model_id;
  const view = new AnswerView(describe(fields.kv_compression));
  const turn = {role: "assistant", content: "", view: view.root};
  add_turn(turn);
  running = new AbortController();
  show_running(true);
  const why = {};
  try {
    await stream(body, result, view, running.signal);
    why.note = notes[result.finish_reason] ?? "";
  } catch (error) {
    if (running.signal.aborted) why.note = notes.stopped;
    else why.error = sentence(error);
  }
  running = null;
  turn.content = result.content;
  view.finish(result, why, buttons(turn));
  show_running(false);
}

function buttons(turn) {
  const retry = element("button", {type: "button", class: "plain small retry"}, "Retry");
  retry.addEventListener("click", () => {
    while (turns.includes(turn)) drop_turn();
    answer();
  });
  const copy = element("button", {type: "button", class: "plain small"}, "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(turn.content);
    copy.textContent = "Copied";
  });
  // the clipboard is there for pages from this machine or over TLS alone
  return turn.content && navigator.clipboard ? [copy, retry] : [retry];
}

// The pictures first: a question is about what was seen before it.
function parts(text, pictures) {
  const list = pictures.map(({url}) => ({type: "image_url", image_url: {url}}));
  return text ? [...list, {type: "text", text}] : list;
}

async function send() {
  const text = $("prompt").value.trim();
  if ((!text && !has_pictures()) || running || !request_fields()) return;
  $("prompt").value = "";
  const pictures = await take_pictures();
  const view = element("article", {class: "message user"}, element("h3", {}, "You"));
  if (pictures.length) view.append(element("div", {class: "thumbnails"}, ...pictures.map(thumbnail)));
  if (text) view.append(element("div", {class: "text"}, text));
  add_turn({role: "user", content: pictures.length ? parts(text, pictures) : text, view});
  answer();
}

function clear() {
  running?.abort();
  while (turns.length) drop_turn();
  $("welcome").hidden = false;
  $("prompt").focus();
}

export function init_chat() {
  init_pictures();
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("clear").addEventListener("click", clear);
}

export async function load_model() {
  const model = (await get_json("v1/models")).data?.[0];
  model_id = model?.id ?? "";
  set_model_sees(model?.input_modalities?.includes("image") ?? false);
}
