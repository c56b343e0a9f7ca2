// The first page: one click trains a model on the example book; a dropped book gets a name and starts alike.

import { path, post } from "./api.js";
import { busy, clearErrors, glide, showError } from "./form.js";
import { count, t } from "./text.js";
import { uploads } from "./upload.js";

const form = document.getElementById("first-form");
const books = document.getElementById("first-books");
const progress = document.getElementById("first-progress");
const problem = document.getElementById("first-error");
const example = document.getElementById("try-example");
const NO_NAME = /[<>:"/\\|?*]/; // a title that cannot be a name
let named = false; // by the person

// Start the first run and go to its page. The server measures this machine meanwhile, which takes some seconds.
async function start(wishes) {
  progress.textContent = t("js.first_measuring");
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

function takeBook(book) {
  const facts = [count("js.characters", book.characters), ...book.notices].join(" · ");
  const line = Object.assign(document.createElement("li"), { className: "first-book" });
  line.dataset.name = book.name;
  line.append(Object.assign(document.createElement("b"), { className: "book-title", textContent: book.title }), " ");
  line.append(Object.assign(document.createElement("span"), { className: "note", textContent: facts }));
  books.append(line);
  if (!named && !books.children[1]) form.elements.name.value = NO_NAME.test(book.title) ? book.name : book.title;
  form.hidden = false;
  document.getElementById("own-form").href = path`/create?book=${book.name}`;
  glide(form);
  form.elements.name.focus({ preventScroll: true });
}

form.elements.name.addEventListener("input", () => (named = true));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(form.querySelector("[type=submit]"), async () => {
    clearErrors(form);
    try {
      await start({ books: [...books.children].map((line) => line.dataset.name), name: form.elements.name.value });
    } catch (error) {
      showError(form, error);
    }
  });
});

uploads(document.querySelector("[data-role=uploader]"), takeBook);
