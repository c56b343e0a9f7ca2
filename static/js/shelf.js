// My books: new ones, their figures when a person looks inside, the names of title, author and language, and deletion.

import { get, patch, path, remove } from "./api.js";
import { addBook, showBook } from "./books.js";
import { attempt, busy } from "./form.js";
import { decimal, number, percent, t } from "./text.js";
import { offerUndo } from "./undo.js";
import { uploads } from "./upload.js";

const list = document.getElementById("books");
const empty = document.getElementById("books-empty");
const total = document.querySelector("[data-role=books-count]");
const part = (row, name) => row.querySelector(`[data-book-part="${name}"]`);

uploads(document.querySelector("[data-role=uploader]"), addBook);
new MutationObserver(() => {
  total.textContent = number(list.children.length);
  empty.hidden = list.children.length > 0;
}).observe(list, { childList: true });

list.addEventListener("click", (event) => {
  const button = event.target.closest("[data-book-action=delete]");
  if (!button) return;
  const row = button.closest("[data-book]");
  busy(button, () => attempt(part(row, "error"), async () => {
    await remove(path`/books/${row.dataset.book}`);
    row.remove();
    offerUndo(row.dataset.book, part(row, "title").textContent);
  }));
});

list.addEventListener("toggle", ({ target }) => {
  if (target.open && target.matches("[data-book-part=looking]")) showFigures(target.closest("[data-book]"));
}, true);

async function showFigures(row) {
  const place = part(row, "figures");
  const found = await get(path`/books/${row.dataset.book}/statistics`).catch(() => null);
  if (!found) return place.replaceChildren();
  const facts = [
    ["paragraphs", number(found.paragraphs)],
    ["sentence_words", decimal(found.sentence_words, 1)],
    ["dialogue", percent(found.dialogue)],
    ["different_words", number(found.different_words)],
    ["frequent", found.frequent.slice(0, 8).map(([word]) => word).join(", ")],
  ];
  place.replaceChildren(...facts.filter(([, value]) => value).map(([key, value]) => fact(t(`js.figure_${key}`), value)));
}

function fact(label, value) {
  const box = document.createElement("div");
  box.append(Object.assign(document.createElement("dt"), { textContent: label }), Object.assign(document.createElement("dd"), { textContent: value }));
  return box;
}

// Title, author and language as the person knows them: the guess from the text may be wrong.
list.addEventListener("submit", (event) => {
  event.preventDefault();
  const row = event.target.closest("[data-book]");
  const wanted = Object.fromEntries(["title", "author", "language"].map((name) => [name, part(row, `edit-${name}`).value]));
  busy(event.submitter ?? event.target.querySelector("button"), () => attempt(part(row, "edit-error"), async () => {
    showBook(row, await patch(path`/books/${row.dataset.book}`, wanted));
    part(row, "saved").textContent = t("js.book_saved");
  }));
});
