// The view of copied phrases: what stands in the books word for word is underlined; a press on it shows the place in the book.

import { path } from "./api.js";
import { tail, unitsOf } from "./marks.js";
import { count, percent, t } from "./text.js";

const MOST_CHARACTERS = 20_000;

export function copiedView({ form }) {
  return {
    async ask(text, post) {
      const part = tail(text, MOST_CHARACTERS);
      const { phrases } = await post("/copied", { model: form.elements.model.value, text: part.text });
      const unit = unitsOf(part.text);
      return phrases.map((phrase) => ({ ...phrase, start: part.start + unit(phrase.start), end: part.start + unit(phrase.end) }));
    },
    told: (phrases) => (phrases.length ? count("js.copied_phrases", phrases.length) : t("js.copied_nothing")),
    marks: (phrases) => phrases.map((phrase) => ({ start: phrase.start, end: phrase.end, key: phrase.start, classes: ["is-copied"] })),
    pointed: (phrase) => ({
      title: phrase.title,
      link: path`/library/${phrase.book}`,
      note: t("js.copied_place", { place: percent(phrase.place / phrase.characters) }),
      quote: [`…${phrase.before}`, phrase.words, `${phrase.after}…`],
    }),
  };
}
