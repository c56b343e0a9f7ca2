// The list of books: preview, choice of the encoding, and books uploaded while the page is open.

import { get, path, post } from "./api.js";
import { FieldProblem, attempt, busy } from "./form.js";
import { count, plain, t } from "./text.js";

const list = document.getElementById("books");
const empty = document.getElementById("books-empty");
const part = (row, name) => row.querySelector(`[data-book-part="${name}"]`);

// Put a new book at the top of the list, or update the one with that name; `look` opens it.
export function addBook(book, look = true) {
  const row = rowOf(book.name) ?? document.getElementById("book-template").content.firstElementChild.cloneNode(true);
  showBook(row, book);
  row.classList.add("is-new");
  if (!row.isConnected) list.prepend(row);
  list.scrollTop = row.offsetTop - list.offsetTop;
  part(row, "looking").open = look;
  empty.hidden = true;
}

export function chosenBooks() {
  return [...list.querySelectorAll("[name=books]:checked")].map((box) => box.value);
}

// Return how often each chosen book is to be read compared with the others, in their order; [] where all are alike.
export function bookWeights() {
  const weights = chosenBooks().map((name) => Number(part(rowOf(name), "weight").value.trim().replace(",", ".")));
  if (!weights.every((weight) => weight > 0)) throw new FieldProblem("books", t("js.weight_needed"));
  return weights.length > 1 && new Set(weights).size > 1 ? weights : [];
}

// Fill in the weights of a former training on `names`.
export function writeWeights(names, weights) {
  for (const row of list.querySelectorAll("[data-book]")) {
    const place = names.indexOf(row.dataset.book);
    part(row, "weight").value = plain(weights?.[place] ?? 1);
  }
  showWeights();
}

// A weight means something beside another book only.
export function showWeights() {
  const several = chosenBooks().length > 1;
  const help = document.getElementById("book-weights-help");
  if (help) help.hidden = !several;
  for (const box of list.querySelectorAll("[name=books]")) part(rowOf(box.value), "weight-label").hidden = !(several && box.checked);
}

// Return the prompts in the languages of the chosen books, the most frequent first; languages without one are left out.
export function promptsOfBooks() {
  const prompts = chosenBooks().map((name) => rowOf(name).dataset.prompt).filter(Boolean);
  const times = (prompt) => prompts.filter((other) => other === prompt).length;
  return prompts.sort((a, b) => times(b) - times(a));
}

// Return the beginnings of the chosen books, as the page shows them.
export function previews() {
  return chosenBooks().map((name) => part(rowOf(name), "preview").textContent).join("\n");
}

export function chooseBooks(names) {
  for (const box of list.querySelectorAll("[name=books]")) box.checked = names.includes(box.value);
  showChosen();
  showWeights();
}

// Scroll a long list to the first chosen book.
function showChosen() {
  const row = list.querySelector("[data-book]:has([name=books]:checked)");
  if (row) list.scrollTop = row.offsetTop - list.offsetTop;
}

showChosen();

function rowOf(name) {
  return list.querySelector(`[data-book="${CSS.escape(name)}"]`);
}

// Write what is known about a book into its row.
export function showBook(row, book) {
  row.dataset.book = book.name;
  const box = row.querySelector("[name=books]");
  if (box) box.value = book.name;
  part(row, "title").textContent = book.title;
  for (const link of row.querySelectorAll('a[href^="/library/"]')) link.href = path`/library/${book.name}`;
  part(row, "name").textContent = book.name === book.title ? "" : book.name;
  part(row, "preview").textContent = book.preview;
  row.dataset.prompt = book.sample_prompt ?? "";
  row.classList.toggle("is-damaged", book.is_damaged);
  part(row, "notices").replaceChildren(...book.notices.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  for (const name of ["title", "author", "language"]) if (part(row, `edit-${name}`)) part(row, `edit-${name}`).value = book[name];
  part(row, "left-out").textContent = book.left_out_notice;
  part(row, "read-as").hidden = !book.encoding; // the format states its own
  const select = part(row, "encoding");
  select.value = book.encoding;
  const name = select.selectedOptions[0]?.textContent ?? (book.encoding || book.format.toUpperCase());
  const spoken = part(row, "edit-language")?.selectedOptions[0];
  const known = [book.author, book.language && spoken ? spoken.textContent : ""].filter(Boolean);
  const facts = [...known, count("js.characters", book.characters), count("js.words", book.words), ""].join(" · ");
  part(row, "facts").replaceChildren(facts, Object.assign(document.createElement("span"), { className: "book-encoding", textContent: name }));
}

// ---- choice of the encoding ------------------------------------------------------------------------------------------------

list.addEventListener("change", async (event) => {
  const row = event.target.closest("[data-book]");
  if (event.target.dataset.bookPart !== "encoding") return;
  const encoding = event.target.value;
  await inRow(row, async () => {
    const { preview, readable } = await get(path`/books/${row.dataset.book}/preview?encoding=${encoding}`);
    if (part(row, "encoding").value !== encoding) return;
    part(row, "preview").textContent = preview;
    part(row, "note").textContent = t(readable ? "js.preview_as" : "js.preview_unreadable");
    row.querySelector("[data-book-action=reread]").hidden = !readable;
  });
});

list.addEventListener("click", (event) => {
  const button = event.target.closest("[data-book-action=reread]");
  if (button) busy(button, () => reread(button.closest("[data-book]"), button));
});

function reread(row, button) {
  return inRow(row, async () => {
    const body = { encoding: part(row, "encoding").value };
    showBook(row, await post(path`/books/${row.dataset.book}/encoding`, body));
    button.hidden = true;
    part(row, "note").textContent = t("js.reread_done");
  });
}

function inRow(row, action) {
  part(row, "note").textContent = "";
  return attempt(part(row, "error"), action);
}
