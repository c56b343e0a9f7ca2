// The page of one book: title, author and language, the encoding, deletion.

import { get, patch, path, post, remove } from "./api.js";
import { confirmDeletion } from "./confirm.js";
import { busy } from "./form.js";
import { t } from "./text.js";

const page = document.getElementById("book");
const form = document.getElementById("book-form");
const encoding = document.getElementById("f-encoding");
const reread = document.getElementById("reread");
const name = page.dataset.name;
const SAVED = "azr-book-saved"; // said after the page was made anew

if (sessionStorage.getItem(SAVED) === name) document.getElementById("book-note").textContent = t("js.book_saved");
sessionStorage.removeItem(SAVED);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { title, author, language } = form.elements;
  busy(form.querySelector("button"), () => attempt("book-error", async () => {
    await patch(path`/books/${name}`, { title: title.value, author: author.value, language: language.value });
    sessionStorage.setItem(SAVED, name);
    location.reload();
  }));
});

encoding?.addEventListener("change", () => attempt("read-error", async () => {
  const wanted = encoding.value;
  const { preview, readable } = await get(path`/books/${name}/preview?encoding=${wanted}`);
  if (encoding.value !== wanted) return;
  document.getElementById("beginning").textContent = preview;
  document.getElementById("read-note").textContent = t(readable ? "js.preview_as" : "js.preview_unreadable");
  reread.hidden = !readable;
}));

reread?.addEventListener("click", () => busy(reread, () => attempt("read-error", async () => {
  await post(path`/books/${name}/encoding`, { encoding: encoding.value });
  location.reload();
})));

document.getElementById("delete-book").addEventListener("click", () => confirmDeletion("book", page.dataset.title, async () => {
  await remove(path`/books/${name}`);
  location.assign("/library?tab=books");
}));

async function attempt(place, action) {
  const problem = document.getElementById(place);
  problem.hidden = true;
  try {
    await action();
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
}
