// SPDX-License-Identifier: Apache-2.0
// The part of Markdown that models write, as DOM nodes. Their text is never parsed as HTML, links stay text, and
// what is not understood is shown as it came.
import {element} from "./dom.js";

const inline_pattern = /(`+)([^`].*?)\1(?!`)|\*\*([^\s*][^*]*)\*\*|\*([^\s*][^*]*)\*/g;

function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(inline_pattern)) {
    if (match.index > end) nodes.push(text.slice(end, match.index));
    end = match.index + match[0].length;
    if (match[2] !== undefined) nodes.push(element("code", {}, match[2]));
    else if (match[3] !== undefined) nodes.push(element("strong", {}, match[3]));
    else nodes.push(element("em", {}, match[4]));
  }
  if (end < text.length) nodes.push(text.slice(end));
  return nodes;
}

const starts_list = (line) => /^\s*([-*+]|\d+[.)])\s+/.exec(line);
const starts_block = (line) => /^\s*```|^#{1,6}\s/.test(line) || starts_list(line) || line.trim() === "";

// Each takes its lines off the front.
function take_code(lines) {
  const indent = lines.shift().search(/\S/);
  const code = [];
  while (lines.length && !/^\s*```\s*$/.test(lines[0])) code.push(lines.shift());
  lines.shift();
  const strip = (line) => line.slice(Math.min(indent, Math.max(0, line.search(/\S|$/))));
  return element("pre", {tabindex: "0"}, element("code", {}, code.map(strip).join("\n")));
}

function take_list(lines) {
  const first = starts_list(lines[0]);
  const is_ordered = /\d/.test(first[1]);
  const list = element(is_ordered ? "ol" : "ul", is_ordered ? {start: parseInt(first[1], 10)} : {});
  while (lines.length) {
    const mark = starts_list(lines[0]);
    if (!mark || /\d/.test(mark[1]) !== is_ordered) break;
    const item = [lines.shift().slice(mark[0].length)];
    while (lines.length && !starts_block(lines[0])) item.push(lines.shift().trim());
    list.append(element("li", {}, ...inline(item.join(" "))));
    while (lines.length > 1 && lines[0].trim() === "" && starts_list(lines[1])) lines.shift();
  }
  return list;
}

function take_paragraph(lines) {
  const paragraph = [lines.shift()];
  while (lines.length && !starts_block(lines[0])) paragraph.push(lines.shift());
  return element("p", {}, ...inline(paragraph.join("\n")));
}

export function markdown(text) {
  const lines = text.split("\n");
  const blocks = [];
  while (lines.length) {
    if (lines[0].trim() === "") lines.shift();
    else if (/^\s*```/.test(lines[0])) blocks.push(take_code(lines));
    else if (/^#{1,6}\s/.test(lines[0])) blocks.push(element("h4", {}, ...inline(lines.shift().replace(/^#+\s+/, ""))));
    else if (starts_list(lines[0])) blocks.push(take_list(lines));
    else blocks.push(take_paragraph(lines));
  }
  return blocks;
}
