// Where a model went on to other books, from its trainings so far and the one that runs or ran last.

import { number, t } from "./text.js";

// `trainings` is [{start, books: [name], titles: [title]}], the oldest first; `status` is that of the last run, or null.
// [{iteration, text}] for each change, in order.
export function changesOfBooks(trainings, status) {
  const changes = [];
  let before = null;
  for (const { start, books, titles } of [...trainings, ...lastOf(trainings, status)]) {
    const key = [...books].sort().join("\n");
    if (before !== null && key !== before) changes.push({ iteration: start, text: t("js.books_changed", { n: number(start), books: titles.join(", ") }) });
    before = key;
  }
  return changes;
}

// The last run counts from its start, also before it has published anything.
function lastOf(trainings, status) {
  if (!status?.books.length || status.parameters === null) return [];
  const { started_iteration: start, books } = status;
  if (trainings.some((training) => training.start > start)) return [];
  return [{ start, books, titles: books.map(titleOf) }];
}

function titleOf(name) {
  return document.querySelector(`[data-book="${CSS.escape(name)}"] [data-book-part=title]`)?.textContent ?? name;
}
