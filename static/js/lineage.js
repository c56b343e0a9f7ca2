// Finds where a model's training went on with other books.

import { number, t } from "./text.js";

// Return each change as {iteration, label, text}, in order. `trainings` is [{start, books: [name], titles: [title]}], the oldest
// first; `status` is that of the last run, or null.
export function changesOfBooks(trainings, status) {
  const changes = [];
  let before = null;
  for (const { start, books, titles } of [...trainings, ...lastOf(trainings, status)]) {
    const key = [...books].sort().join("\n");
    if (before !== null && key !== before) changes.push({ iteration: start, label: t("js.mark_books"), text: t("js.books_changed", { n: number(start), books: titles.join(", ") }) });
    before = key;
  }
  return changes;
}

// Return the last run as a training, because it is not in the lineage before it has published anything.
function lastOf(trainings, status) {
  if (!status?.books.length || status.parameters === null) return [];
  const { started_iteration: start, books } = status;
  if (trainings.some((training) => training.start > start)) return [];
  return [{ start, books, titles: books.map(titleOf) }];
}

function titleOf(name) {
  return document.querySelector(`[data-book="${CSS.escape(name)}"] [data-book-part=title]`)?.textContent ?? name;
}
