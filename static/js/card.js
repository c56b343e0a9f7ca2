// The card beside a word of the manuscript: what else could have stood there, or where its phrase comes from.

import { share } from "./text.js";

// Returns {show(anchor, content), close()}. content: {title, note, link?, items?: [{name, share, is, press}], quote?: [before, words, after]}
export function openCard(area) {
  const card = document.getElementById("word-card");
  let anchor = null; // the word that the card is about

  function close() {
    if (card.hidden) return;
    const held = card.contains(document.activeElement);
    card.hidden = true;
    if (held) area.focus({ preventScroll: true });
  }

  function show(word, content) {
    if (!word) return close();
    anchor = word;
    card.replaceChildren(...parts(content));
    card.hidden = false;
    place();
    reveal();
  }

  // Below the word, inside the sheet.
  function place() {
    const frame = card.parentElement.getBoundingClientRect();
    const lines = anchor.getClientRects();
    const line = lines[lines.length - 1];
    const left = Math.max(0, Math.min(line.left - frame.left, frame.width - card.offsetWidth));
    card.style.left = `${left}px`;
    card.style.top = `${line.bottom - frame.top + 6}px`;
  }

  // Scroll until the bar at the bottom hides nothing of the card.
  function reveal() {
    const bar = document.querySelector(".composer").getBoundingClientRect().top;
    const beyond = card.getBoundingClientRect().bottom + 8 - bar;
    if (beyond > 0) scrollBy({ top: beyond, behavior: "instant" });
  }

  function parts({ title, note, link, items, quote }) {
    const head = made(link ? "a" : "p", "word-card-title", title);
    if (link) head.href = link;
    const found = [head, made("p", "note", note)];
    if (items) found.push(list(items));
    if (quote) {
      const text = made("blockquote", "voice");
      text.append(quote[0], made("mark", "", quote[1]), quote[2]);
      found.push(text);
    }
    return found;
  }

  function list(items) {
    const rows = made("ol", "alternatives");
    for (const item of items) {
      const row = document.createElement("li");
      const button = Object.assign(made("button", "alternative"), { type: "button", disabled: !item.press });
      const bar = made("span", "alternative-bar");
      bar.style.width = `${Math.max(1, item.share * 100)}%`;
      button.append(bar, made("span", "alternative-name voice", item.name), made("span", "alternative-share", share(item.share)));
      if (item.is) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => {
        close();
        item.press();
      });
      row.append(button);
      rows.append(row);
    }
    return rows;
  }

  // Where the sheet changes its size its lines break elsewhere: the card follows its word.
  new ResizeObserver(() => !card.hidden && (anchor.isConnected ? place() : close())).observe(card.parentElement);
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  document.addEventListener("pointerdown", (event) => !card.contains(event.target) && event.target !== area && close());
  return { show, close };
}

function made(tag, className, text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}
