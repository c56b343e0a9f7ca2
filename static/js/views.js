// What is shown over the manuscript on demand: how likely each word was, which phrases are the books', where a head of attention looks.
// Each view asks the server about the text as it stands, and again a moment after it has changed.

import { post } from "./api.js";
import { copiedView } from "./copied.js";
import { attentionView } from "./attention.js";
import { likelyView } from "./likely.js";
import { sharedLength } from "./marks.js";
import { t } from "./text.js";

const PAUSE_MILLISECONDS = 700;

// `page`: {form, area, manuscript, card, shapes, goOn, isWriting}. Returns what the page tells: `changed()`, `settled()`.
export function showViews(page) {
  const { form, area, manuscript, card } = page;
  const views = { likely: likelyView(page), copied: copiedView(page), attention: attentionView(page) };
  const note = document.getElementById("view-note");
  const sheet = area.closest(".sheet");
  let current = null; // the view that is on
  let answer = null; // {text, pieces}: what is known about a text
  let asking = null;
  let timer = 0;

  function choose() {
    const name = form.elements.view.value;
    sheet.dataset.view = name;
    for (const each of sheet.querySelectorAll("[data-for-view]")) each.hidden = each.dataset.forView !== name;
    current = views[name] ?? null;
    forget();
    if (current) ask();
  }

  function forget() {
    clearTimeout(timer);
    asking?.abort();
    answer = null;
    note.textContent = "";
    card.close();
    manuscript.mark([]);
  }

  async function ask() {
    clearTimeout(timer);
    asking?.abort();
    asking = new AbortController();
    const text = manuscript.text;
    if (!text) return forget();
    note.textContent = t("js.reading_text");
    try {
      const pieces = await current.ask(text, (path, body) => post(path, body, { signal: asking.signal }));
      answer = { text, pieces };
      note.textContent = current.told(pieces);
      look();
    } catch (error) {
      if (error.name !== "AbortError") note.textContent = error.message;
    }
  }

  // Tint what is still true: nothing behind the first letter that has been changed.
  function look() {
    if (!answer) return manuscript.mark([]);
    const known = sharedLength(answer.text, manuscript.text);
    const pieces = answer.pieces.filter((piece) => piece.end <= known);
    manuscript.mark(current.marks(pieces, area.selectionStart));
  }

  function point(piece) {
    if (!piece) return card.close();
    if (current.pointed) card.show(manuscript.markAt(piece.start), current.pointed(piece));
  }

  const pieceAt = (place) => answer?.pieces.find((piece) => piece.start <= place && place < piece.end);

  area.addEventListener("click", (event) => {
    if (!current || page.isWriting()) return;
    const hit = elementAt(event, sheet)?.dataset.key;
    look();
    point(hit === undefined ? null : pieceAt(Number(hit)));
  });
  area.addEventListener("keyup", (event) => {
    if (!current || page.isWriting() || !/^(Arrow|Home|End|Page)/.test(event.key)) return;
    look();
    point(pieceAt(area.selectionStart));
  });
  for (const control of form.querySelectorAll("[name=view], #attention-layer, #attention-head")) control.addEventListener("change", choose);
  for (const name of ["model", "version"]) form.elements[name].addEventListener("change", choose);

  return {
    // The text is another one now: ask when it has been still for a moment.
    changed() {
      clearTimeout(timer);
      card.close();
      if (!current || page.isWriting()) return; // a text that grows keeps its marks
      look();
      timer = setTimeout(ask, PAUSE_MILLISECONDS);
    },
    // The model has stopped writing.
    settled() {
      if (current) ask();
    },
  };
}

// Return the tinted element under the pointer, which lies behind the text area.
function elementAt(event, sheet) {
  sheet.classList.add("is-pointed");
  const found = document.elementsFromPoint(event.clientX, event.clientY).find((element) => element.dataset.key !== undefined);
  sheet.classList.remove("is-pointed");
  return found;
}
