// Uploading books: dropped or picked files and folders, sent one after another with a progress bar; a pasted text.

import { ApiError, errorOf, post } from "./api.js";
import { acceptDrops } from "./dropped.js";
import { busy } from "./form.js";
import { bytes, number, percent, t } from "./text.js";

const OTHER_ENCODING = ["not_text", "two_encodings", "book_unreadable"]; // a person may know better

// Make a drop zone upload. `taken(book, look)` is called for each book; the zone lists the result for every file.
export function uploads(zone, taken) {
  const input = zone.querySelector("#upload-file");
  const folder = zone.querySelector("#upload-folder");
  const progress = zone.querySelector("[data-role=upload-progress]");
  const bar = progress.querySelector("progress");
  const note = zone.querySelector("[data-role=upload-note]");
  const results = zone.querySelector("[data-role=upload-results]");
  const endings = input.accept.split(",").filter((ending) => ending.startsWith("."));
  let queue = Promise.resolve();

  // `fromFolder`: other files are left out silently, as a folder holds all kinds.
  function bring(files, fromFolder = false) {
    results.replaceChildren();
    const isBook = ({ name }) => !name.startsWith(".") && endings.some((ending) => name.toLowerCase().endsWith(ending));
    const wanted = fromFolder ? [...files].filter(isBook) : [...files];
    if (fromFolder && !wanted.length) result(t("js.nothing_to_upload"), "field-error");
    for (const file of wanted) queue = queue.then(() => bringOne(file, wanted.length === 1));
  }

  async function bringOne(file, alone, encoding = "") {
    progress.hidden = false;
    try {
      const { books, refused, skipped } = await sendFile("/upload_book", file, { encoding }, (sent, total) => showProgress(file, sent, total));
      for (const book of books) {
        taken(book, alone && books.length === 1);
        result(book.same_as ? t("js.uploaded_twin", { title: book.title, twin: book.same_as }) : t("js.uploaded", { title: book.title }));
      }
      for (const each of refused) result(`${each.file}: ${each.error.message}`, "field-error");
      if (skipped) result(t("js.upload_skipped", { name: file.name, count: number(skipped) }));
    } catch (error) {
      const line = result(`${file.name}: ${error.message}`, "field-error");
      if (OTHER_ENCODING.includes(error.code)) line.append(readAs((chosen) => again(line, file, chosen)));
    }
    progress.hidden = true;
  }

  function again(line, file, encoding) {
    line.remove();
    queue = queue.then(() => bringOne(file, true, encoding));
  }

  function result(text, kind = "note") {
    const line = document.createElement("li");
    line.className = kind;
    line.textContent = text;
    results.append(line);
    return line;
  }

  function showProgress(file, sent, total) {
    bar.value = total ? sent / total : 0;
    const done = sent >= total;
    note.textContent = done ? t("js.reading", { name: file.name }) : t("js.sending", { name: file.name, sent: percent(sent / total), total: bytes(total) });
  }

  for (const [picker, fromFolder] of [[input, false], [folder, true]]) {
    picker.addEventListener("change", () => {
      bring([...picker.files], fromFolder);
      picker.value = "";
    });
  }
  acceptDrops(zone, bring);
  pasting(zone, (book) => {
    taken(book, true);
    results.replaceChildren();
    result(t("js.uploaded", { title: book.title }));
  });
}

// Return a choice of the encoding, for a file whose own could not be found.
function readAs(chosen) {
  const place = Object.assign(document.createElement("span"), { className: "read-again" });
  const select = document.getElementById("book-template").content.querySelector("[data-book-part=encoding]").cloneNode(true);
  delete select.dataset.bookPart;
  select.setAttribute("aria-label", t("js.read_as_choose"));
  const button = Object.assign(document.createElement("button"), { type: "button", className: "button", textContent: t("js.read_as") });
  button.addEventListener("click", () => chosen(select.value));
  place.append(select, button);
  return place;
}

// A text that is pasted becomes a book. Not a form: on the training page it stands inside one.
function pasting(zone, added) {
  const [title, text, button, problem] = ["title", "text", "add", "error"].map((name) => zone.querySelector(`[data-role=paste-${name}]`));
  title.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  button.addEventListener("click", () => busy(button, async () => {
    problem.hidden = true;
    try {
      added(await post("/books", { title: title.value, text: text.value }));
      title.value = text.value = "";
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }));
}

// Send a file with XMLHttpRequest, because fetch does not report upload progress.
export function sendFile(address, file, fields, onProgress) {
  return new Promise((resolve, reject) => {
    const body = new FormData();
    body.append("file", file, file.name); // without the path in a folder
    for (const [name, value] of Object.entries(fields)) if (value) body.append(name, value);
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded, event.total));
    request.addEventListener("load", () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText));
      else reject(new ApiError(errorOf(request.responseText)));
    });
    request.addEventListener("error", () => reject(new ApiError({ message: t("js.unreachable") })));
    request.send(body);
  });
}
