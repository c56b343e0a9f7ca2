// Two models, or two versions of one, go on with the same text side by side, with the same settings and one seed.

import { busy, clearErrors, read, showError } from "./form.js";
import { count, t } from "./text.js";
import { told } from "./told.js";
import { offerVersions } from "./versions.js";
import { write } from "./writing.js";

// `page`: {form, manuscript, trained, checkpoints, isWriting}.
export function compareBeside({ form, manuscript, trained, checkpoints, isWriting }) {
  const box = document.getElementById("beside");
  const button = document.getElementById("compare");
  const stop = document.getElementById("compare-stop");
  const panes = [...box.querySelectorAll(".pane")];
  const other = { model: document.getElementById("other-model"), version: document.getElementById("other-version") };
  let running = null;

  // Until the person has chosen, compare with another trained model, else with the other version of this one.
  function suggest() {
    const name = form.elements.model.value;
    const another = Object.keys(trained).find((each) => trained[each] && each !== name);
    other.model.value = another ?? name;
    offerOther(another || form.elements.version.value === "last" ? "best" : "last");
  }

  const offerOther = (wished) => offerVersions(other.version, checkpoints[other.model.value], wished);

  async function compare() {
    clearErrors(form);
    let wishes;
    try {
      wishes = read(form);
    } catch (problem) {
      return showError(form, problem);
    }
    const both = [wishes, { ...wishes, model: other.model.value, version: other.version.value }];
    const labels = [form.elements.version, other.version].map(labelOf);
    const seed = wishes.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
    running = new AbortController();
    stop.hidden = false;
    document.getElementById("panes").hidden = false;
    await Promise.all(both.map((wish, side) => fill(panes[side], labels[side], { ...wish, seed, prompt: manuscript.text })));
    running = null;
    stop.hidden = true;
  }

  async function fill(pane, label, wish) {
    const [text, facts, take] = [".pane-text", ".pane-facts", "button"].map((part) => pane.querySelector(part));
    pane.querySelector(".pane-title").textContent = `${wish.model} · ${label}`;
    text.textContent = "";
    facts.textContent = t("js.writing");
    take.hidden = true;
    let tokens = 0;
    try {
      const done = await write(wish, running.signal, {
        accepted() {},
        text(piece, written) {
          tokens = written;
          text.append(piece);
        },
      });
      facts.textContent = told(done);
    } catch (error) {
      facts.textContent = error.name === "AbortError" ? `${count("js.tokens", tokens)} · ${t("js.finish_cancelled")}` : error.message;
    }
    take.hidden = !text.textContent;
    take.onclick = () => {
      if (!isWriting()) manuscript.put(wish.prompt + text.textContent, wish.prompt.length);
      document.getElementById("f-prompt").focus();
    };
  }

  other.model.addEventListener("change", () => offerOther());
  button.addEventListener("click", () => busy(button, compare));
  stop.addEventListener("click", () => running?.abort());
  addEventListener("pagehide", () => running?.abort());
  box.addEventListener("toggle", suggest, { once: true });
}

const labelOf = (select) => select.selectedOptions[0].textContent.split(" — ")[0];
