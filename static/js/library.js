// My models and books: deletion with a question first, and new books.

import { path, remove } from "./api.js";
import { addBook } from "./books.js";
import { confirmDeletion } from "./confirm.js";
import { testsWhenOpened } from "./downloads.js";
import { imports } from "./importing.js";
import { uploads } from "./upload.js";

const models = document.getElementById("models");
const empty = document.getElementById("models-empty");

models.addEventListener("click", (event) => {
  if (!event.target.closest("[data-model-action=delete]")) return;
  const card = event.target.closest("[data-model]");
  confirmDeletion("model", card.dataset.model, async () => {
    await remove(path`/models/${card.dataset.model}`);
    card.remove();
    empty.hidden = models.children.length > 0;
  });
});

testsWhenOpened(models);
imports(document.querySelector("[data-role=importer]"));
uploads(document.querySelector("[data-role=uploader]"), addBook);
