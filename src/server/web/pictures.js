// SPDX-License-Identifier: Apache-2.0
// Pictures of the message that is being written: dropped, pasted or chosen, shown small, sent as data URLs.
import {$, element, set_text} from "./dom.js";

const most_pictures = 16;          // of a message
const preview_px = 192;            // longest side of what is shown
const sent_px = 2048;              // longest side of what is sent in place of a file that is too large
const most_bytes = 2 << 20;        // of a file that is sent as it is
const read_by_servers = new Set(["image/png", "image/jpeg", "image/webp", "image/gif"]);

let waiting = [];                  // {name, url, preview}
let reading = Promise.resolve();   // files are read one after the other, so that their order stays
let is_seen = false;               // the model takes pictures

function say(sentence) {
  set_text($("pictures-note"), sentence);
  $("pictures-note").hidden = !sentence;
}

// On white, as the server would put it.
function scaled(bitmap, longest_px, type) {
  const factor = Math.min(1, longest_px / Math.max(bitmap.width, bitmap.height));
  const canvas = element("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * factor));
  canvas.height = Math.max(1, Math.round(bitmap.height * factor));
  const paper = canvas.getContext("2d");
  paper.fillStyle = "#fff";
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL(type, 0.9);
}

function as_data_address(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}

async function read(file) {
  const bitmap = await createImageBitmap(file);
  const fits = file.size <= most_bytes && Math.max(bitmap.width, bitmap.height) <= sent_px;
  const as_it_is = fits && read_by_servers.has(file.type);
  const picture = {
    name: file.name || "pasted picture",
    url: as_it_is ? await as_data_address(file) : scaled(bitmap, sent_px, "image/jpeg"),
    preview: scaled(bitmap, preview_px, "image/jpeg"),
  };
  bitmap.close();
  return picture;
}

async function add(file) {
  if (waiting.length >= most_pictures) return say(`A message may have ${most_pictures} pictures.`);
  try {
    waiting.push(await read(file));
    show();
  } catch {
    say(`${file.name || "What was pasted"} is no picture that this browser can read.`);
  }
}

function add_all(files) {
  const pictures = [...files];
  if (pictures.length === 0) return false;
  if (!is_seen) {
    say("This model takes text only; a server started with --mmproj sees pictures.");
    return true;
  }
  say("");
  for (const file of pictures) reading = reading.then(() => add(file));
  return true;
}

function show() {
  const rows = waiting.map((picture) => {
    const remove = element("button", {type: "button", class: "remove", "aria-label": `Remove ${picture.name}`}, "×");
    remove.addEventListener("click", () => {
      waiting = waiting.filter((other) => other !== picture);
      say("");
      show();
      $("prompt").focus();
    });
    return element("li", {}, thumbnail(picture), remove);
  });
  $("pictures").replaceChildren(...rows);
  $("pictures").hidden = rows.length === 0;
}

export const thumbnail = (picture) => element("img", {src: picture.preview, alt: picture.name, title: picture.name});

// Those of the message that is sent now; the next one has none.
export async function take_pictures() {
  await reading;
  const taken = waiting;
  waiting = [];
  say("");
  show();
  return taken;
}

export const has_pictures = () => waiting.length > 0;

export function set_model_sees(sees) {
  is_seen = sees;
  $("add-picture").hidden = !sees;
}

export function init_pictures() {
  $("add-picture").addEventListener("click", () => $("picture-files").click());
  $("picture-files").addEventListener("change", () => {
    add_all($("picture-files").files);
    $("picture-files").value = "";  // the same file can be chosen again
  });
  $("prompt").addEventListener("paste", (event) => {
    if (add_all(event.clipboardData.files)) event.preventDefault();
  });
  const chat = $("chat");
  const has_files = (event) => event.dataTransfer.types.includes("Files");
  chat.addEventListener("dragover", (event) => {
    if (!has_files(event)) return;
    event.preventDefault();
    chat.classList.add("dropping");
  });
  chat.addEventListener("dragleave", (event) => {
    if (!chat.contains(event.relatedTarget)) chat.classList.remove("dropping");
  });
  chat.addEventListener("drop", (event) => {
    chat.classList.remove("dropping");
    if (!has_files(event)) return;
    event.preventDefault();
    add_all(event.dataTransfer.files);
  });
}
