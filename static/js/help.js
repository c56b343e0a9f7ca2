// The help pages: the search over all of them, copying of commands, and lists that are open where there is room.

import { get } from "./api.js";
import { count, t } from "./text.js";

const MOST_HITS = 30;
const SNIPPET_CHARACTERS = 180;
const COPIED_MILLISECONDS = 1500;
const ENDINGS = { ru: /(?:ть(?:ся)?|н{0,2}[аеёиоуыэюяйьмх]+)$/, en: /(?:ing|ed|es|s|e)$/ };
const language = document.documentElement.lang;
const form = document.getElementById("help-search");

for (const list of document.querySelectorAll("[data-open-when-wide]")) list.open = matchMedia("(min-width: 64rem)").matches;

// ---- the search ------------------------------------------------------------------------------------------------------

// Return words without their endings, so that one form of a word finds the others: "книгам" -> "книг"
function stems(query) {
  const words = query.toLocaleLowerCase(language).match(/[\p{L}\p{N}_]+/gu) ?? [];
  return words.map((word) => {
    const stem = word.replace(ENDINGS[language] ?? /$/, "");
    return stem.length >= 3 ? stem : word;
  });
}

// Return a pattern for words that begin like this stem.
function beginning(stem) {
  return new RegExp(`(?<![\\p{L}\\p{N}])${stem}[\\p{L}\\p{N}_]*`, "giu");
}

// Return how well a section fits, as [words that it has, how often and how prominently].
function fit(section, patterns) {
  const times = (text, pattern, most) => Math.min(most, text.match(pattern)?.length ?? 0);
  const found = patterns.map((pattern) =>
    20 * times(section.heading, pattern, 1) + 6 * times(section.title, pattern, 1) + times(section.text, pattern, 5));
  return [found.filter(Boolean).length, found.reduce((sum, each) => sum + each, 0)];
}

// Return the sections that have all of the words, else those that have most of them, the best first.
function fitting(all, patterns) {
  const weighed = all.map((section) => ({ section, worth: fit(section, patterns) }));
  const most = Math.max(0, ...weighed.map(({ worth }) => worth[0]));
  const best = weighed.filter(({ worth }) => most && worth[0] === most);
  return best.sort((one, other) => other.worth[1] - one.worth[1]).map(({ section }) => section);
}

let index = null;

function sections() {
  index ??= get(`/help_index?language=${language}`).then((answer) => answer.sections);
  index.catch(() => { index = null; });
  return index;
}

function snippet(text, patterns) {
  const places = patterns.map((pattern) => text.search(new RegExp(pattern.source, "iu"))).filter((at) => at >= 0);
  const at = places.length ? Math.min(...places) : 0;
  const start = at > 60 ? text.indexOf(" ", at - 60) + 1 : 0;
  const cut = text.slice(start, start + SNIPPET_CHARACTERS);
  return marked(`${start ? "…" : ""}${cut}${start + SNIPPET_CHARACTERS < text.length ? "…" : ""}`, patterns);
}

// Return text as nodes, with the words that were looked for marked.
function marked(text, patterns) {
  const nodes = document.createDocumentFragment();
  const any = new RegExp(patterns.map((pattern) => pattern.source).join("|"), "giu");
  let from = 0;
  for (const match of text.matchAll(any)) {
    nodes.append(text.slice(from, match.index), Object.assign(document.createElement("mark"), { textContent: match[0] }));
    from = match.index + match[0].length;
  }
  nodes.append(text.slice(from));
  return nodes;
}

function hit(section, patterns) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `/help/${encodeURIComponent(section.document)}#${encodeURIComponent(section.anchor)}`;
  link.append(marked(section.heading, patterns));
  link.addEventListener("click", () => queueMicrotask(() => show("")));
  const place = Object.assign(document.createElement("span"), { className: "note", textContent: section.title });
  const text = document.createElement("span");
  text.append(snippet(section.text, patterns));
  item.append(link, ...(section.title === section.heading ? [] : [place]), text);
  return item;
}

async function show(query) {
  const patterns = stems(query).map(beginning);
  document.getElementById("help-results").hidden = !patterns.length;
  document.getElementById("help-document").hidden = patterns.length > 0;
  document.querySelector(".help-contents")?.toggleAttribute("hidden", patterns.length > 0);
  if (!patterns.length) return;
  const said = document.getElementById("help-count");
  const list = document.getElementById("help-hits");
  let all;
  try {
    all = await sections();
  } catch {
    said.textContent = t("js.help_unreachable");
    list.replaceChildren();
    return;
  }
  if (query !== input.value) return; // typed on meanwhile
  const found = fitting(all, patterns);
  said.textContent = found.length ? count("js.help_found", found.length) : t("js.help_nothing", { query });
  list.replaceChildren(...found.slice(0, MOST_HITS).map((section) => hit(section, patterns)));
}

const input = document.getElementById("help-query");
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  document.querySelector("#help-hits a")?.focus();
});
input?.addEventListener("focus", () => sections().catch(() => {}), { once: true });
input?.addEventListener("input", () => show(input.value));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && input?.value) {
    input.value = "";
    show("");
    input.focus();
  } else if (event.key === "/" && input && !event.target.closest("input, textarea, select")) {
    event.preventDefault();
    input.focus();
  }
});
if (input?.value) show(input.value); // typed before the page was reloaded

// ---- commands --------------------------------------------------------------------------------------------------------

function withCopy(block) {
  const frame = Object.assign(document.createElement("div"), { className: "code" });
  const button = Object.assign(document.createElement("button"), { type: "button", className: "button copy", textContent: t("js.help_copy") });
  block.replaceWith(frame);
  frame.append(block, button);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = t("js.help_copied");
    setTimeout(() => { button.textContent = t("js.help_copy"); }, COPIED_MILLISECONDS);
  });
}

if (navigator.clipboard) document.querySelectorAll(".prose pre[data-language=bash], .prose pre[data-language=python]").forEach(withCopy);
