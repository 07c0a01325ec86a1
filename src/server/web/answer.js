// SPDX-License-Identifier: Apache-2.0
// One answer in the conversation: its text as it comes, and what it cost.
import {$, element} from "./dom.js";
import {bytes, count, duration, rate, share} from "./format.js";
import {markdown} from "./markdown.js";

// Where the server said nothing (an answer that was stopped), what was seen from here.
function seen_from_here(timing, pieces) {
  if (!timing.first_ms) return [];
  const figures = [["TTFT", duration(timing.first_ms - timing.start_ms)]];
  const seconds = (timing.last_ms - timing.first_ms) / 1e3;
  if (pieces > 1 && seconds > 0) figures.push(["tok/s", rate((pieces - 1) / seconds)]);
  return figures;
}

function cache_figures(cost, usage) {
  const figures = [];
  const [before, after] = [cost.rows_before_compression, cost.rows_after_compression];
  if (after < before)
    figures.push(["KV rows", `${count(before)} → ${count(after)} (−${share(before - after, before)})`, "saved"]);
  if (cost.freed_bytes > 0) figures.push(["freed", bytes(cost.freed_bytes)]);
  const cached = usage?.prompt_tokens_details?.cached_tokens ?? 0;
  if (cached > 0) figures.push(["cached", `${count(cached)} of ${count(usage.prompt_tokens)} prompt tokens`]);
  if (cost.preemptions > 0) figures.push(["preempted", `${cost.preemptions}×`]);
  return figures;
}

// [name, value, class], most wanted first.
export function figures({cost, usage, timing, pieces}) {
  const list = cost ? [["TTFT", duration(cost.ttft_ms)]] : seen_from_here(timing, pieces);
  if (cost?.tpot_ms > 0) list.push(["tok/s", rate(1e3 / cost.tpot_ms)]);
  if (usage) list.push(["tokens", `${count(usage.prompt_tokens)} + ${count(usage.completion_tokens)}`]);
  if (cost) list.push(...cache_figures(cost, usage));
  return list;
}

function stage_times(cost) {
  return ["queue", "prefill", "compress", "decode"]
    .filter((stage) => cost[`${stage}_ms`] > 0)
    .map((stage) => `${stage} ${duration(cost[`${stage}_ms`])}`)
    .join(" · ");
}

// `what` is shown under the role: the press that was asked for.
export class AnswerView {
  constructor(what) {
    this.text_ = element("div", {class: "text"});
    this.foot_ = element("div", {class: "foot"});
    this.root = element("article", {class: "message assistant", "aria-busy": "true"},
      element("h3", {}, "Model ", element("span", {class: "dim"}, what)), this.text_, this.foot_);
    this.frame_ = 0;
  }

  // Once per frame at most, however fast the tokens come.
  show(text, reasoning) {
    this.shown_ = {text, reasoning};
    this.frame_ ||= requestAnimationFrame(() => this.draw_());
  }

  draw_() {
    this.frame_ = 0;
    const log = $("log");
    const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    const {text, reasoning} = this.shown_;
    const blocks = markdown(text);
    if (reasoning) {
      const open = this.text_.querySelector("details")?.open ?? text === "";
      blocks.unshift(element("details", {class: "reasoning", open},
        element("summary", {}, "Thoughts"), ...markdown(reasoning)));
    }
    this.text_.replaceChildren(...blocks);
    if (follows) log.scrollTop = log.scrollHeight;
  }

  // note: why it ended, if not by itself. error: the sentence of a failure.
  finish(result, {note = "", error = ""}, buttons) {
    if (this.frame_) {
      cancelAnimationFrame(this.frame_);
      this.draw_();
    }
    this.root.removeAttribute("aria-busy");
    if (error) this.foot_.append(element("p", {class: "error", role: "alert"}, error));
    const list = element("dl", {class: "figures"});
    for (const [name, value, kind] of figures(result))
      list.append(element("div", {class: kind}, element("dt", {}, name), " ", element("dd", {}, value)));
    if (note) list.append(element("div", {class: "note"}, element("dd", {}, note)));
    this.foot_.append(list);
    const times = result.cost ? stage_times(result.cost) : "";
    this.foot_.append(element("div", {class: "last"}, element("span", {class: "dim times"}, times), ...buttons));
    const log = $("log");
    if (log.scrollHeight - log.scrollTop - log.clientHeight < 200) log.scrollTop = log.scrollHeight;
  }
}
