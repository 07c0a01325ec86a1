// The report's page on questions about pictures; curves.js stands in front of it.
"use strict";

const data = JSON.parse(by_id("data").textContent);

function element(name, properties, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function show_categories() {
  const row = (cells, kind) => element("tr", {}, ...cells.map((cell) => element(kind, {textContent: cell})));
  const figures = (c) => [c.category, c.n, percent(c.accuracy.value), percent(c.accuracy.low), percent(c.accuracy.high)];
  by_id("categories").replaceChildren(row(["category", "questions", "accuracy, %", "95 % from", "to"], "th"),
    ...[...data.categories, data.all].map((category) => row(figures(category), "td")));
}

function picture(index) {
  const url = data.pictures[index];
  return url === "" ? element("p", {textContent: "(this picture is left out)"})
                    : element("img", {src: url, alt: "a picture of the question", loading: "lazy"});
}

// The user's message as the model had it, what is right, and what came.
function wrong_answer(wrong) {
  const asked = element("div", {className: "asked"});
  wrong.pictures.forEach((index, i) => {
    if (wrong.before[i] !== "") asked.append(element("span", {textContent: wrong.before[i]}));
    asked.append(picture(index));
  });
  asked.append(element("span", {textContent: wrong.question}));
  const line = (name, text) => element("p", {}, element("b", {textContent: name + " "}),
                                       element("span", {className: "said", textContent: text}));
  return element("article", {}, asked, line("accepted:", wrong.accepted), line("answer:", wrong.answer),
                 element("p", {className: "dim", textContent: `${wrong.category}; ${wrong.source}; score ${wrong.score}`}));
}

function show_wrong() {
  by_id("shown").textContent = `${data.n_wrong} of ${data.all.n} are not wholly right` +
    (data.wrong.length < data.n_wrong ? `; the first ${data.wrong.length} of them are shown.` : ".");
  by_id("wrong").replaceChildren(...data.wrong.map(wrong_answer));
}

const full = {press: "uncompressed", baseline: false, removed: 0, bytes: 100, on_compressed: 0,
              value: 100 * data.all.accuracy.value, low: null, high: null};
const rows = data.presses.filter((row) => row.valid).map((row) => ({
  press: row.press, baseline: row.simple_baseline, removed: row.removed, bytes: 100 * row.resident_of_full,
  on_compressed: row.share_on_compressed, value: 100 * row.accuracy.value,
  low: row.accuracy.low === null ? null : 100 * row.accuracy.low,
  high: row.accuracy.high === null ? null : 100 * row.accuracy.high}));

by_id("machine").textContent = `${data.options.dataset}` + (data.options.blind ? ", without the pictures" : "") +
  `; ${data.model}` + (data.url === "" ? "" : ` at ${data.url}`) + `; seed ${data.options.seed}; ` +
  `${data.seconds.toFixed(0)} s; fastcache ${data.version}` +
  (data.failed > 0 ? `; ${data.failed} failed, the first: ${data.first_error}` : "") +
  (data.stopped ? ". Stopped before the end." : "");
show_categories();
show_wrong();
by_id("curves").hidden = rows.length === 0;
if (rows.length > 0)
  show_metrics([{name: "accuracy, %", about: `${data.presses[0].n} questions; the prompt up to the last picture is ` +
    "compressed, the question comes after it", sign: 1, rows: [full, ...rows]}]);
