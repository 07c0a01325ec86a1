// SPDX-License-Identifier: Apache-2.0
// The last minutes as two charts over one axis of time: the pool by state, and tokens per second.
import {$, element, set_text, svg} from "./dom.js";
import {bytes, rate} from "./format.js";
import {states, used_bytes} from "./pool.js";

const spans = [60, 120, 300];  // seconds on the axis, as the page gets older; one sample a second
const n_samples = spans.at(-1);
const drawn = states.filter(({name}) => name !== "free");
const height = 100;  // of a chart in its own units, its width is the seconds; CSS stretches both
let width = spans[0] - 1;

const samples = [];  // {time_ms, pool, tokens_per_s}
const charts = {};
const start = element("span", {}, "1 min ago");

function make_chart(name, label) {
  const picture = svg("svg", {viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img"});
  const top = element("span", {class: "top dim figure"});
  const marker = element("i", {class: "marker", hidden: true});
  const frame = element("div", {class: "frame"}, picture, marker);
  $("history").append(element("div", {class: `chart ${name}`},
    element("div", {class: "axis"}, element("span", {class: "label"}, label), top), frame));
  return charts[name] = {picture, top, marker, frame};
}

export function init_history() {
  const pool = make_chart("pool", "Pool");
  pool.areas = drawn.map(({name}) => {
    const area = svg("path", {class: `fill-${name}`});
    pool.picture.append(area);
    return area;
  });
  const speed = make_chart("speed", "Tokens/s");
  speed.area = svg("path", {class: "speed-area"});
  speed.line = svg("path", {class: "speed-line"});
  speed.picture.append(speed.area, speed.line);
  $("history").append(element("div", {class: "times dim"},
    start, element("span", {}, "now")));
  $("history").addEventListener("pointermove", point_at);
  $("history").addEventListener("pointerleave", () => point_at(null));
}

const x_of = (index) => width - (samples.length - 1 - index);

// An area between two rows of heights in [0, 1].
function area_path(low, high) {
  const there = high.map((value, i) => `${x_of(i)} ${(height * (1 - value)).toFixed(1)}`);
  const back = low.map((value, i) => `${x_of(i)} ${(height * (1 - value)).toFixed(1)}`).reverse();
  return `M${[...there, ...back].join("L")}Z`;
}

function draw_pool() {
  const {areas, picture, top} = charts.pool;
  const total = samples.at(-1).pool.total_bytes;
  let low = samples.map(() => 0);
  drawn.forEach(({field}, i) => {
    const high = samples.map(({pool}, at) => low[at] + pool[field] / total);
    areas[i].setAttribute("d", area_path(low, high));
    low = high;
  });
  set_text(top, bytes(total));
  picture.setAttribute("aria-label", `Pool over time; in use now ${bytes(used_bytes(samples.at(-1).pool))}`);
}

// 1, 2 or 5 times a power of ten: the axis does not move with every sample.
function round_up(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 10)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((rounded) => rounded >= value);
}

function draw_speed() {
  const {area, line, picture, top} = charts.speed;
  const most = round_up(Math.max(...samples.map((sample) => sample.tokens_per_s)));
  const values = samples.map((sample) => sample.tokens_per_s / most);
  area.setAttribute("d", area_path(values.map(() => 0), values));
  line.setAttribute("d", `M${values.map((value, i) => `${x_of(i)} ${(height * (1 - value)).toFixed(1)}`).join("L")}`);
  set_text(top, `${rate(most).replace(/\.0$/, "")}/s`);
  picture.setAttribute("aria-label", `Tokens per second over time; now ${rate(samples.at(-1).tokens_per_s)}`);
}

function set_width() {
  const span = spans.find((seconds) => samples.length <= seconds);
  width = span - 1;
  const minutes = span / 60;
  for (const {picture} of Object.values(charts)) picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  set_text($("history-title"), minutes === 1 ? "Last minute" : `Last ${minutes} minutes`);
  set_text(start, `${minutes} min ago`);
}

// Once a second.
export function add_sample(sample) {
  samples.push(sample);
  if (samples.length > n_samples) samples.shift();
  if (document.hidden || samples.length < 2) return;
  set_width();
  draw_pool();
  draw_speed();
}

// What it was under the pointer.
function point_at(event) {
  const box = charts.pool.frame.getBoundingClientRect();
  const at = event && samples.length - 1 - Math.round((1 - (event.clientX - box.left) / box.width) * width);
  const sample = event ? samples[at] : undefined;
  for (const {marker} of [charts.pool, charts.speed]) {
    marker.hidden = !sample;
    if (sample) marker.style.left = `${(100 * x_of(at)) / width}%`;
  }
  const time = sample && new Date(sample.time_ms).toLocaleTimeString();
  set_text($("history-at"), sample
    ? `${time}: ${bytes(used_bytes(sample.pool))}, ${rate(sample.tokens_per_s)} tok/s` : "");
}
