// The view of attention: the words at which one head looked from the word at the cursor, the stronger the tint the more.

import { piecesOf, tail } from "./marks.js";
import { t } from "./text.js";

const MOST_CHARACTERS = 4000;
const STEPS = [0.02, 0.06, 0.15, 0.35]; // from each of them on the tint is one step stronger

export function attentionView({ form, shapes }) {
  const layer = document.getElementById("attention-layer");
  const head = document.getElementById("attention-head");

  // Offer the layers and heads that the model has; the API counts them from 0, people from 1.
  function offer() {
    const [layers, heads] = shapes[form.elements.model.value] ?? [1, 1];
    for (const [select, number] of [[layer, layers], [head, heads]]) {
      const chosen = Math.min(Number(select.value), number - 1);
      select.replaceChildren(...Array.from({ length: number }, (_, i) => new Option(i + 1, i)));
      select.value = chosen;
    }
  }

  form.elements.model.addEventListener("change", offer);
  offer();
  let square = [];
  let skips = 0;

  return {
    async ask(text, post) {
      const part = tail(text, MOST_CHARACTERS);
      const wish = { model: form.elements.model.value, version: form.elements.version.value, text: part.text };
      const found = await post("/score", { ...wish, layer: Number(layer.value), head: Number(head.value) });
      [square, skips] = [found.attention, found.attention_skips];
      const pieces = piecesOf(found.tokens, part.text, part.start);
      return pieces.filter((piece) => rowOf(piece) >= 0);
    },
    told: () => t("js.attention_at"),
    marks(pieces, place) {
      const from = pieces.find((piece) => piece.start <= place && place < piece.end) ?? pieces.at(-1);
      const row = from ? square[rowOf(from)] : [];
      return pieces.map((piece) => ({
        start: piece.start,
        end: piece.end,
        key: piece.start,
        classes: [piece === from ? "is-looking" : `look-${piece.start < from.start ? stepOf(weight(row, piece)) : 0}`],
      }));
    },
  };

  // The square begins with the end-of-text before the text, unless its beginning did not fit.
  function rowOf(piece) {
    return piece.tokens.at(-1).number + 1 - skips;
  }

  function weight(row, piece) {
    return piece.tokens.reduce((sum, token) => sum + (row[token.number + 1 - skips] ?? 0), 0);
  }
}

const stepOf = (weight) => STEPS.filter((limit) => weight >= limit).length;
