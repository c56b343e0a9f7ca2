// Uploading books: dropped or picked files, sent one after another with a progress bar.

import { ApiError, errorOf } from "./api.js";
import { bytes, percent, t } from "./text.js";

// Make a drop zone upload. `taken(book)` is called for each book; the zone lists the result for every file.
export function uploads(zone, taken) {
  const input = zone.querySelector("input[type=file]");
  const progress = zone.querySelector("[data-role=upload-progress]");
  const bar = progress.querySelector("progress");
  const note = zone.querySelector("[data-role=upload-note]");
  const results = zone.querySelector("[data-role=upload-results]");
  let queue = Promise.resolve();

  function bring(files) {
    results.replaceChildren();
    for (const file of files) queue = queue.then(() => bringOne(file));
  }

  async function bringOne(file) {
    progress.hidden = false;
    try {
      const book = await sendFile(file, (sent, total) => showProgress(file, sent, total));
      taken(book);
      result(book.same_as ? t("js.uploaded_twin", { title: book.title, twin: book.same_as }) : t("js.uploaded", { title: book.title }));
    } catch (error) {
      result(`${file.name}: ${error.message}`, "field-error");
    }
    progress.hidden = true;
  }

  function result(text, kind = "note") {
    const line = document.createElement("li");
    line.className = kind;
    line.textContent = text;
    results.append(line);
  }

  function showProgress(file, sent, total) {
    bar.value = total ? sent / total : 0;
    const done = sent >= total;
    note.textContent = done ? t("js.reading", { name: file.name }) : t("js.sending", { name: file.name, sent: percent(sent / total), total: bytes(total) });
  }

  input.addEventListener("change", () => {
    bring(input.files);
    input.value = "";
  });
  acceptDrops(zone, bring);
}

// Accept files dropped anywhere on the page, because the browser would open a file that misses the zone.
function acceptDrops(zone, bring) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    zone.classList.add("is-dragging");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("is-dragging");
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    zone.classList.remove("is-dragging");
    bring(event.dataTransfer.files);
  });
}

// Send a file with XMLHttpRequest, because fetch does not report upload progress.
function sendFile(file, onProgress) {
  return new Promise((resolve, reject) => {
    const body = new FormData();
    body.append("file", file);
    const request = new XMLHttpRequest();
    request.open("POST", "/upload_book");
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
