// The report's page on texts; curves.js stands in front of it.
"use strict";

const data = JSON.parse(by_id("data").textContent);

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
by_id("machine").textContent = `${data.model}; ${data.cpu}, ${data.threads} threads, ${data.isa}; seed ` +
  `${data.options.seed}; ${data.seconds.toFixed(0)} s; fastcache ${data.version}` +
  (data.complete ? "" : `. Stopped before the end: ${data.how_far}.`);
show_left_out();
show_metrics(all);
