// The first page: one click trains a model on the example book; a dropped book gets a name and starts alike.

import { get, path, post } from "./api.js";
import { FieldProblem, busy, clearErrors, glide, showError } from "./form.js";
import { count, t } from "./text.js";
import { uploads } from "./upload.js";

const form = document.getElementById("first-form");
const books = document.getElementById("first-books");
const progress = document.getElementById("first-progress");
const problem = document.getElementById("first-error");
const example = document.getElementById("try-example");
const NO_NAME = /[<>:"/\\|?*]/; // a title that cannot be a name
let named = false; // by the person

// Start the first run and go to its page.
async function start(wishes) {
  progress.textContent = t("js.first_creating");
  progress.hidden = false;
  problem.hidden = true;
  try {
    const { model } = await post("/first_run", wishes);
    location.assign(path`/training?model=${model}`);
  } finally {
    progress.hidden = true;
  }
}

example.addEventListener("click", () => busy(example, async () => {
  try {
    await start({});
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
}));

document.getElementById("take-own").addEventListener("click", () => document.getElementById("upload-file").click());

// Show a book that the model is to read; the person may untick it.
function takeBook(book) {
  listBook(book);
  glide(form);
  form.elements.name.focus({ preventScroll: true });
}

function listBook(book) {
  const facts = [count("js.characters", book.characters), ...book.notices].join(" · ");
  const line = Object.assign(document.createElement("li"), { className: "first-book" });
  const box = Object.assign(document.createElement("input"), { type: "checkbox", name: "books", value: book.name, checked: true });
  const label = Object.assign(document.createElement("label"), { className: "pick" });
  box.dataset.kind = "book";
  label.append(box, Object.assign(document.createElement("b"), { className: "book-title", textContent: book.title }));
  label.append(Object.assign(document.createElement("span"), { className: "note", textContent: facts }));
  line.append(label);
  books.append(line);
  if (!named && !books.children[1]) form.elements.name.value = NO_NAME.test(book.title) ? book.name : book.title;
  form.hidden = false;
  linkSettings();
}

const chosenBooks = () => [...books.querySelectorAll(":checked")].map((box) => box.value);

// Let the page with all settings tick the same books.
function linkSettings() {
  document.getElementById("own-form").href = `/create?${chosenBooks().map((name) => path`book=${name}`).join("&")}`;
}

// The person's own books that are here already, such as those brought before the page was loaded anew.
async function listBooks() {
  const examples = books.dataset.examples.split(" ");
  const known = (await get("/books").catch(() => ({ books: [] }))).books;
  for (const book of known) if (!examples.includes(book.name)) listBook(book);
}

books.addEventListener("change", linkSettings);
form.elements.name.addEventListener("input", () => (named = true));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(form.querySelector("[type=submit]"), async () => {
    clearErrors(form);
    try {
      if (!chosenBooks().length) throw new FieldProblem("books", t("js.books_needed"));
      await start({ books: chosenBooks(), name: form.elements.name.value });
    } catch (error) {
      showError(form, error);
    }
  });
});

uploads(document.querySelector("[data-role=uploader]"), takeBook);
listBooks();
