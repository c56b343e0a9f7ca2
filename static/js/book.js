// The page of one book: title, author and language, the encoding, deletion.

import { get, patch, path, post, remove } from "./api.js";
import { attempt, busy } from "./form.js";
import { t } from "./text.js";

const page = document.getElementById("book");
const form = document.getElementById("book-form");
const encoding = document.getElementById("f-encoding");
const reread = document.getElementById("reread");
const name = page.dataset.name;
const place = (id) => document.getElementById(id);
const SAVED = "azr-book-saved"; // said after the page was made anew

if (sessionStorage.getItem(SAVED) === name) document.getElementById("book-note").textContent = t("js.book_saved");
sessionStorage.removeItem(SAVED);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { title, author, language } = form.elements;
  busy(form.querySelector("button"), () => attempt(place("book-error"), async () => {
    await patch(path`/books/${name}`, { title: title.value, author: author.value, language: language.value });
    sessionStorage.setItem(SAVED, name);
    location.reload();
  }));
});

encoding?.addEventListener("change", () => attempt(place("read-error"), async () => {
  const wanted = encoding.value;
  const { preview, readable } = await get(path`/books/${name}/preview?encoding=${wanted}`);
  if (encoding.value !== wanted) return;
  document.getElementById("beginning").textContent = preview;
  document.getElementById("read-note").textContent = t(readable ? "js.preview_as" : "js.preview_unreadable");
  reread.hidden = !readable;
}));

reread?.addEventListener("click", () => busy(reread, () => attempt(place("read-error"), async () => {
  await post(path`/books/${name}/encoding`, { encoding: encoding.value });
  location.reload();
})));

const drop = document.getElementById("delete-book");
drop.addEventListener("click", () => busy(drop, () => attempt(place("delete-error"), async () => {
  await remove(path`/books/${name}`);
  location.assign("/library?tab=books"); // it can be brought back there
})));
