// The list of texts written earlier: a press opens one in the manuscript.

import { confirmDeletion } from "./confirm.js";
import { earlierTexts, forgetText, forgetTexts } from "./earlier.js";
import { count, t } from "./text.js";

const SHOWN_CHARACTERS = 140;

// `open(text)` is called with the text that the person chose. Returns a function that draws the list anew.
export function showEarlier(open) {
  const list = document.getElementById("earlier-texts");
  const all = document.getElementById("forget-all");
  const when = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });

  function draw() {
    const texts = earlierTexts();
    document.getElementById("earlier-empty").hidden = texts.length > 0;
    all.hidden = !texts.length;
    list.replaceChildren(...texts.map(row));
  }

  function row(text) {
    const item = document.createElement("li");
    const choose = button("earlier-text", () => open(text));
    const start = Math.max(0, Math.min(text.from - 50, text.text.length - SHOWN_CHARACTERS));
    const words = document.createElement("span");
    words.className = "voice";
    words.textContent = (start ? "…" : "") + text.text.slice(start, start + SHOWN_CHARACTERS).trim() + (start + SHOWN_CHARACTERS < text.text.length ? "…" : "");
    const facts = document.createElement("span");
    facts.className = "note";
    facts.textContent = [when.format(text.at), text.model, count("js.tokens", text.tokens), ...(text.seed === undefined ? [] : [t("js.seed", { seed: text.seed })])].join(" · ");
    choose.append(words, facts);
    const forget = button("icon-button", () => {
      const place = [...list.children].indexOf(item);
      forgetText(text.at);
      draw();
      (list.children[Math.min(place, list.children.length - 1)]?.firstChild ?? document.querySelector("#earlier summary")).focus();
    });
    forget.textContent = "×";
    forget.setAttribute("aria-label", t("js.forget_text"));
    forget.title = t("js.forget_text");
    item.append(choose, forget);
    return item;
  }

  all.addEventListener("click", () =>
    confirmDeletion("texts", "", () => {
      forgetTexts();
      draw();
    }),
  );
  addEventListener("storage", draw); // another tab wrote
  draw();
  return draw;
}

function button(className, action) {
  const made = Object.assign(document.createElement("button"), { type: "button", className });
  made.addEventListener("click", action);
  return made;
}
