// Trainings that wait their turn: the list, and removing one from it.

import { get, path, remove } from "./api.js";
import { attempt, busy } from "./form.js";
import { count, duration, t } from "./text.js";

const section = document.getElementById("queue");
const list = section.querySelector("ol");
const template = document.getElementById("waiting-template").content.firstElementChild;

// Read the queue and show it; nothing is shown where nobody waits.
export async function showQueue() {
  const { waiting } = await get("/queue").catch(() => ({ waiting: [] }));
  section.hidden = waiting.length === 0;
  list.replaceChildren(...waiting.map(item));
  document.dispatchEvent(new Event("queueshown"));
}

function item({ job_id: id, model, books, iterations, max_minutes: minutes, error }) {
  const element = template.cloneNode(true);
  const length = iterations !== null ? count("js.iterations", iterations) : minutes === null ? t("js.endless") : duration(minutes * 60);
  element.querySelector(".waiting-model").textContent = model;
  element.dataset.waits = error ? "" : model;
  element.querySelector(".note").textContent = [titles(books), length].join(" · ");
  const problem = element.querySelector(".field-error");
  problem.textContent = error?.message ?? "";
  const button = element.querySelector("button");
  button.setAttribute("aria-label", t("js.leave_queue", { name: model }));
  button.addEventListener("click", () => busy(button, () => attempt(problem, async () => {
    await remove(path`/queue/${id}`);
    await showQueue();
  })));
  return element;
}

function titles(books) {
  const titleOf = (name) => document.querySelector(`[data-book="${CSS.escape(name)}"] [data-book-part=title]`)?.textContent ?? name;
  return books.map(titleOf).join(", ");
}
