// SPDX-License-Identifier: Apache-2.0
// The few things of the DOM that every module needs. Text is only ever set as text.

export const $ = (id) => document.getElementById(id);

// element("span", {class: "dim", title: "x"}, "text", another_element)
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function svg(tag, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// Touching the text of an element costs a layout, so only where it is another.
export function set_text(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A browser may refuse its storage (private windows, policies): then nothing is kept.
export function kept(storage, name) {
  try {
    return globalThis[storage].getItem(name);
  } catch {
    return null;
  }
}

export function keep(storage, name, value) {
  try {
    if (value === null) globalThis[storage].removeItem(name);
    else globalThis[storage].setItem(name, value);
  } catch {
    // nothing is lost but comfort
  }
}
