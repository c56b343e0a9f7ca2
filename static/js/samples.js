// Sample texts of a training as a feed, the newest at the end. A reader who has scrolled back stays there.

import { number, t } from "./text.js";

const MOST = 200; // as many as the server's history has
const list = document.getElementById("feed");
const template = document.getElementById("sample-template").content.firstElementChild;
let newest = -1;

export function setSamples(samples) {
  const following = isAtEnd() || samples[0]?.iteration !== Number(list.firstElementChild?.dataset.iteration);
  list.replaceChildren(...samples.slice(-MOST).map(item));
  newest = samples.at(-1)?.iteration ?? -1;
  arrange(following);
}

export function addSample(sample) {
  if (sample.iteration <= newest) return;
  const following = isAtEnd();
  newest = sample.iteration;
  const element = item(sample);
  element.classList.add("is-new");
  list.append(element);
  if (list.children.length > MOST) list.firstElementChild.remove();
  arrange(following);
}

const isAtEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < 24;

function item({ iteration, prompt, text }) {
  const element = template.cloneNode(true);
  element.dataset.iteration = iteration;
  element.querySelector(".said-when").textContent = t("js.iteration", { n: number(iteration) });
  element.querySelector(".prompt").textContent = prompt;
  element.querySelector(".completion").textContent = text;
  return element;
}

function arrange(following) {
  document.getElementById("samples-empty").hidden = list.children.length > 0;
  list.hidden = list.children.length === 0;
  if (following) list.scrollTop = list.scrollHeight;
}
