// The report's page: one metric at a time, quality over the bytes held.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const by_id = (id) => document.getElementById(id);
const percent = (share) => share === null ? "-" : (100 * share).toFixed(1);

// A metric: rows of {press, bytes, value, low, high, row}; sign -1 where less is better.
function metrics() {
  const found = [];
  const text = data.text;
  const add = (name, about, sign, rows, value) => found.push({
    name, about, sign,
    rows: rows.filter((row) => row.valid).map((row) => ({
      press: row.press, baseline: row.simple_baseline, removed: row.removed, bytes: 100 * row.resident_of_full,
      on_compressed: row.share_on_compressed, ...value(row)})).filter((row) => row.value !== null)});
  const interval = (i) => ({value: i.value === null ? null : 100 * i.value, low: i.low === null ? null : 100 * i.low,
                            high: i.high === null ? null : 100 * i.high});
  if (text.n > 0) {
    const about = `${text.n} documents, ${data.options.context_tokens} tokens compressed, ` +
      `${data.options.continuation_tokens} continued; perplexity with all rows ${text.full.perplexity.toFixed(2)}, ` +
      `with the first 4 and last 128 ${text.window.perplexity.toFixed(2)}`;
    const held = [...text.rows, ...text.formats.map((format) => ({...format.rows[0], removed: null}))];
    add("context gain retained, %", about, 1, held, (row) => interval(row.gain_retained));
    add("KL from the full cache, nats a token", about, -1, held, (row) => ({value: row.kl, low: null, high: null}));
    add("top-1 agreement, %", about, 1, held, (row) => ({value: 100 * row.top1, low: null, high: null}));
    add("perplexity", about, -1, held, (row) => ({value: row.perplexity, low: null, high: null}));
  }
  for (const task of data.tasks)
    for (const measure of ["exact", "likelihood"])
      if (task.counted[measure])
        add(`${task.task}, ${task.length} tokens, ${measure}, %` + (task.query_aware ? ", question known" : ""),
            `n = ${task.n}; the full cache reaches ${percent(task.full[measure])} %`, 1, task.rows,
            (row) => interval(row[measure]));
  return found;
}

// Marks the rows that no other beats in both quality and bytes.
function mark_front(metric) {
  for (const row of metric.rows)
    row.front = !metric.rows.some((other) => other !== row && other.bytes <= row.bytes &&
      metric.sign * other.value >= metric.sign * row.value &&
      (other.bytes < row.bytes || metric.sign * other.value > metric.sign * row.value));
}

function series_of(metric, front_only) {
  const presses = [...new Set(metric.rows.map((row) => row.press))];
  const all = presses.map((press, i) => ({
    name: press, color: `hsl(${(i * 137.5) % 360} 65% 48%)`,
    points: metric.rows.filter((row) => row.press === press).sort((a, b) => a.bytes - b.bytes)
      .map((row) => ({x: row.bytes, y: row.value, front: row.front}))}));
  if (!front_only) return all;
  return all.map((s) => ({...s, points: s.points.filter((p) => p.front)})).filter((s) => s.points.length > 0);
}

let drawn = null;
function draw_with_chart_js(series, metric) {
  const canvas = document.createElement("canvas");
  by_id("chart").replaceChildren(canvas);
  if (drawn) drawn.destroy();
  drawn = new Chart(canvas, {
    type: "line",
    data: {datasets: series.map((s) => ({label: s.name, data: s.points, borderColor: s.color, backgroundColor: s.color,
      pointRadius: s.points.map((p) => p.front ? 6 : 3), borderWidth: 2}))},
    options: {animation: false, maintainAspectRatio: false, parsing: false, plugins: {legend: {display: false}},
      scales: {x: {type: "linear", title: {display: true, text: "bytes held, % of the uncompressed cache"}},
               y: {title: {display: true, text: metric.name}}}}});
}

function svg(name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const tick = (value) => Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);

function draw_plainly(series, metric) {
  const width = 1000, height = 400, left = 60, bottom = 40;
  const points = series.flatMap((s) => s.points);
  const low = Math.min(...points.map((p) => p.y)), high = Math.max(...points.map((p) => p.y));
  const most = Math.max(...points.map((p) => p.x)) * 1.05;
  const pad = (high - low) * 0.05 || 1;
  const x = (value) => left + value / most * (width - left - 10);
  const y = (value) => 10 + (high + pad - value) / (high - low + 2 * pad) * (height - bottom - 10);
  const picture = svg("svg", {viewBox: `0 0 ${width} ${height}`});
  for (let i = 0; i <= 5; ++i) {
    const value = low + i / 5 * (high - low), bytes = i / 5 * most;
    picture.append(svg("line", {class: "grid", x1: left, x2: width, y1: y(value), y2: y(value)}),
                   svg("text", {x: left - 6, y: y(value) + 4, "text-anchor": "end"}, tick(value)),
                   svg("text", {x: x(bytes), y: height - 22, "text-anchor": "middle"}, bytes.toFixed(0)));
  }
  picture.append(svg("text", {x: width / 2, y: height - 4, "text-anchor": "middle"},
                     "bytes held, % of the uncompressed cache"));
  for (const s of series) {
    picture.append(svg("polyline", {class: "series", stroke: s.color,
      points: s.points.map((p) => `${x(p.x)},${y(p.y)}`).join(" ")}));
    for (const p of s.points) {
      const dot = svg("circle", {cx: x(p.x), cy: y(p.y), r: p.front ? 6 : 3, fill: s.color});
      dot.append(svg("title", {}, `${s.name}: ${p.y.toPrecision(4)} at ${p.x.toFixed(1)} %`));
      picture.append(dot);
    }
  }
  by_id("chart").replaceChildren(picture);
}

function show_legend(series) {
  by_id("legend").replaceChildren(...series.map((s) => {
    const item = document.createElement("li"), mark = document.createElement("span");
    mark.className = "mark";
    mark.style.background = s.color;
    item.append(mark, s.name);
    return item;
  }));
}

function show_table(metric) {
  const row_of = (cells, kind) => {
    const row = document.createElement("tr");
    for (const cell of cells) row.append(Object.assign(document.createElement(kind), {textContent: cell}));
    return row;
  };
  const figure = (value) => value === null ? "-" : value.toPrecision(4);
  const rows = [...metric.rows].sort((a, b) => a.removed - b.removed || metric.sign * (b.value - a.value));
  by_id("figures").replaceChildren(
    row_of(["press", "removed, %", "bytes held, %", metric.name, "95 % from", "to", "on compressed, %"], "th"),
    ...rows.map((row) => {
      const made = row_of([row.press + (row.baseline ? " *" : ""), percent(row.removed), row.bytes.toFixed(2),
                           figure(row.value), figure(row.low), figure(row.high), percent(row.on_compressed)], "td");
      if (row.front) made.className = "front";
      return made;
    }));
}

function show_left_out() {
  const items = [];
  for (const task of data.tasks)
    for (const measure of ["exact", "likelihood"])
      if (!task.counted[measure])
        items.push(`${task.task}, ${task.length} tokens, ${measure}` + (task.query_aware ? ", question known" : "") +
                   `: the model itself reaches ${percent(task.full[measure])} %`);
  by_id("left-out").hidden = items.length === 0;
  by_id("left-out").querySelector("ul").replaceChildren(
    ...items.map((text) => Object.assign(document.createElement("li"), {textContent: text})));
}

const all = metrics();
function show() {
  const metric = all[by_id("metric").selectedIndex];
  by_id("about").textContent = metric.about + ". Large points: the Pareto front. * simple baseline.";
  const series = series_of(metric, by_id("front").checked);
  (window.Chart ? draw_with_chart_js : draw_plainly)(series, metric);
  show_legend(series);
  show_table(metric);
}

by_id("machine").textContent = `${data.model}; ${data.cpu}, ${data.threads} threads, ${data.isa}; seed ` +
  `${data.options.seed}; ${data.seconds.toFixed(0)} s; fastcache ${data.version}` +
  (data.complete ? "" : `. Stopped before the end: ${data.how_far}.`);
all.forEach(mark_front);
by_id("metric").append(...all.map((metric) => Object.assign(document.createElement("option"), {textContent: metric.name})));
by_id("metric").addEventListener("change", show);
by_id("front").addEventListener("change", show);
show_left_out();
if (all.length > 0) show();
