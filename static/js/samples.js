// Sample texts of a training as a feed, the newest at the end. A reader who has scrolled back stays there.

import { number, t } from "./text.js";

const MOST = 200; // as many as the server's history has
const list = document.getElementById("feed");
const template = document.getElementById("sample-template").content.firstElementChild;
let known = [];
let following = true;

export function setSamples(samples) {
  following ||= samples[0]?.iteration !== Number(list.firstElementChild?.dataset.iteration);
  known = samples.slice();
  list.replaceChildren(...samples.slice(-MOST).map(item));
  arrange();
}

export function addSample(sample) {
  if (sample.iteration <= (known.at(-1)?.iteration ?? -1)) return;
  known.push(sample);
  const element = item(sample);
  element.classList.add("is-new");
  list.append(element);
  if (list.children.length > MOST) list.firstElementChild.remove();
  arrange();
}

// Return the earliest and the newest sample; a place is empty where there is none.
export const firstAndLast = () => [known[0], known.at(-1)];

// Scroll to the newest sample, unless the reader has scrolled back.
export function showNewestSample() {
  if (following) list.scrollTop = list.scrollHeight;
}

// Only a reader's scrolling decides: the list also leaves its end when what stands around it takes its room.
list.addEventListener("scroll", () => (following = isAtEnd()), { passive: true });
new ResizeObserver(showNewestSample).observe(list);

const isAtEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < 24;

// Add a text that the person has asked for; `when` says of which version it is.
export function addAsked(sample) {
  const element = item(sample);
  element.classList.add("is-new", "is-asked");
  list.append(element);
  following = true;
  arrange();
}

function item({ iteration, prompt, text, when = t("js.iteration", { n: number(iteration) }) }) {
  const element = template.cloneNode(true);
  element.dataset.iteration = iteration ?? "";
  element.querySelector(".said-when").textContent = when;
  element.querySelector(".prompt").textContent = prompt;
  element.querySelector(".completion").textContent = text;
  return element;
}

function arrange() {
  document.getElementById("samples-empty").hidden = list.children.length > 0;
  list.hidden = list.children.length === 0;
  showNewestSample();
}
