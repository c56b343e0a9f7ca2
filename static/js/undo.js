// Bring back what was deleted, a model or a book, or free its space on the disk at once.

import { path, post, remove } from "./api.js";
import { attempt, busy } from "./form.js";
import { t } from "./text.js";

const list = document.getElementById("deleted");
const { kind } = list.dataset; // "model" or "book"
const addressOf = (line) => path`/deleted_${kind}s/${line.dataset.deleted}`;

// Put a line for what has just been deleted above the others.
export function offerUndo(name, title = name) {
  const line = document.getElementById("deleted-template").content.firstElementChild.cloneNode(true);
  line.dataset.deleted = name;
  line.querySelector("[data-role=deleted-name]").textContent = t(`js.deleted_${kind}`, { name: title });
  list.prepend(line);
  line.querySelector("[data-deleted-action=restore]").focus(); // the button that was pressed is gone
}

list.addEventListener("click", (event) => {
  const button = event.target.closest("[data-deleted-action]");
  if (!button) return;
  const line = button.closest("[data-deleted]");
  busy(button, () => attempt(line.querySelector("[data-role=deleted-error]"), async () => {
    if (button.dataset.deletedAction === "restore") {
      await post(`${addressOf(line)}/restore`, undefined);
      location.reload();
    } else {
      await remove(addressOf(line));
      line.remove();
      document.getElementById("main").focus();
    }
  }));
});
