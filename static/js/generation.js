// The generation page: the person types in the manuscript, and the model goes on in it. Whatever breaks, the text stays.

import { path } from "./api.js";
import { compareBeside } from "./side_by_side.js";
import { openCard } from "./card.js";
import { keepManuscript, keepText, keptManuscript } from "./earlier.js";
import { showEarlier } from "./earlier_list.js";
import { busy, clearErrors, read, setValue, showError } from "./form.js";
import { openManuscript } from "./manuscript.js";
import { addSliders, linkMoods } from "./moods.js";
import { showPrecision } from "./precision.js";
import { rememberSampling, rememberedSampling } from "./sampling.js";
import { t } from "./text.js";
import { showTold } from "./told.js";
import { offerVersions } from "./versions.js";
import { showViews } from "./views.js";
import { write } from "./writing.js";

const KEEP_MILLISECONDS = 400;
const DOUBLE_CLICK_MILLISECONDS = 400; // the button to stop comes where the one to go on was pressed
const form = document.getElementById("generate-form");
const { trained, checkpoints, prompts, asked, begun, moods, sliders, shapes, precisions } = JSON.parse(document.getElementById("page-data").textContent);
const [button, cancel, again, undo, redo, copy, newText] = ["generate", "cancel", "again", "undo", "redo", "copy", "new-text"].map((id) => document.getElementById(id));
const area = form.elements.prompt;
const picture = document.getElementById("picture");
const stats = document.getElementById("stats");
let running = null; // an AbortController while a text is being written
let last = null; // {from, text}: what the model wrote last, as long as nothing has been changed since
let keeping = 0;
let startedAt = 0;
let views = null;

const manuscript = openManuscript(area, picture, () => {
  showTools();
  keepSoon();
  views?.changed();
});

// ---- what is kept in this browser ---------------------------------------------------------------------------------

const settings = () => [...form.querySelectorAll("[name][data-kind]")].filter((control) => !["prompt", "model"].includes(control.name));

function keepSoon() {
  keeping ||= setTimeout(keepNow, KEEP_MILLISECONDS);
}

function keepNow() {
  clearTimeout(keeping);
  keeping = 0;
  const inputs = Object.fromEntries(settings().map((control) => [control.name, control.value]));
  keepManuscript({ ...manuscript.kept(), model: form.elements.model.value, inputs, last });
}

// Start where the person stopped; a model and a beginning that the address names go before what is kept.
function takeKept() {
  const kept = keptManuscript();
  const inputs = kept?.inputs ?? rememberedSampling();
  for (const control of settings()) {
    if (!(control.name in inputs) || control.name === "version" || control.value !== control.defaultValue) continue;
    if (kept) putRaw(control, inputs[control.name]);
    else setValue(control, inputs[control.name]);
  }
  if (!kept) return;
  if (!asked && kept.model in trained) form.elements.model.value = kept.model;
  offerVersions(form.elements.version, checkpoints[form.elements.model.value], inputs.version);
  const typed = area.value === area.defaultValue ? null : area.value; // typed before this ran
  manuscript.take(kept);
  last = kept.last?.text === kept.text ? kept.last : null;
  if ((typed ?? begun) !== null) manuscript.put(typed ?? begun);
  else if (isPrompt(kept.text)) manuscript.put(prompts[form.elements.model.value]);
}

function putRaw(control, value) {
  control.value = value;
  control.dispatchEvent(new Event("valueset", { bubbles: true }));
}

// The address's beginning is taken once: a reload shows what has become of it.
function forgetAddress() {
  if (begun === null) return;
  const place = `${location.pathname}${asked ? path`?model=${asked}` : ""}`;
  history.replaceState(null, "", place);
  for (const link of document.querySelectorAll(".languages a")) link.href = link.getAttribute("href").replace(/next=.*/, path`next=${place}`);
}

// ---- the model ------------------------------------------------------------------------------------------------------

const isPrompt = (text) => !text || Object.values(prompts).includes(text);

function showModel() {
  const name = form.elements.model.value;
  document.getElementById("untrained").hidden = trained[name];
  document.getElementById("untrained-link").href = path`/training?model=${name}`;
  button.disabled = !trained[name];
  offerVersions(form.elements.version, checkpoints[name]);
  if (begun === null && isPrompt(manuscript.text)) manuscript.put(prompts[name]);
  showTools();
}

function showTools() {
  if (last && last.text !== manuscript?.text && !running) last = null;
  again.disabled = !last || Boolean(running) || button.disabled;
  undo.disabled = Boolean(running) || !manuscript.canUndo;
  redo.disabled = Boolean(running) || !manuscript.canRedo;
  copy.disabled = newText.disabled = !manuscript.text;
}

// ---- writing --------------------------------------------------------------------------------------------------------

// Go on after `text`: the whole manuscript, or what is left of it, with another word from `from` on.
async function goOn(text = manuscript.text, from = text.length) {
  clearErrors(form);
  let tokens = 0;
  try {
    const wishes = { ...read(form), prompt: text };
    begin(text, from);
    const done = await write(wishes, running.signal, {
      accepted: () => rememberSampling(wishes),
      text(piece, count) {
        tokens = count;
        append(piece);
      },
    });
    finish(text, wishes, done);
    showTold(stats, done, keepSeed);
  } catch (error) {
    if (running) finish(text, { model: form.elements.model.value }, { tokens });
    fail(error, tokens);
  }
}

function begin(text, from) {
  running = new AbortController();
  manuscript.begin(text, from);
  stats.textContent = t("js.writing");
  form.classList.add("is-writing");
  area.readOnly = true;
  startedAt = Date.now();
  cancel.hidden = false;
  if (document.activeElement === document.body || document.activeElement === button) cancel.focus({ preventScroll: true });
  showTools();
  showEnd();
}

function finish(before, wishes, done) {
  running = null;
  form.classList.remove("is-writing");
  area.readOnly = false;
  if (document.activeElement === cancel) button.focus({ preventScroll: true });
  cancel.hidden = true;
  const text = manuscript.text;
  last = text.length > before.length ? { from: before.length, text } : null;
  if (!last) manuscript.drop();
  if (last) keepText({ at: Date.now(), model: wishes.model, version: wishes.version, text, from: before.length, seed: done.seed, tokens: done.tokens });
  drawEarlier();
  views.settled();
  showTools();
  keepNow();
}

function fail(error, tokens) {
  if (error.name === "AbortError") return showTold(stats, { tokens, finish_reason: "cancelled" });
  stats.textContent = tokens && error.code !== "cut_off" ? t("js.stays") : "";
  showError(form, error);
}

function keepSeed(seed) {
  setValue(form.elements.seed, seed);
  keepSoon();
  area.focus();
}

// Follow the text unless the person has scrolled up to read.
function append(piece) {
  const follows = endIsInView();
  manuscript.append(piece);
  if (follows) requestAnimationFrame(showEnd);
}

const room = () => document.querySelector(".composer").offsetHeight + 40; // pixels below the text
const endIsInView = () => manuscript.bottom() <= innerHeight;

function showEnd() {
  const beyond = manuscript.bottom() - (innerHeight - room());
  if (beyond > 0) scrollBy({ top: beyond, behavior: "instant" });
}

// ---- what the person presses ------------------------------------------------------------------------------------------

const start = (text, from) => !button.disabled && busy(button, () => goOn(text, from));

form.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
addEventListener("keydown", (event) => { // anywhere on the page, which may have opened with the text filled in
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(button);
  if (event.key === "Escape") running?.abort();
});
again.addEventListener("click", () => start(manuscript.text.slice(0, last.from)));
cancel.addEventListener("click", () => Date.now() - startedAt > DOUBLE_CLICK_MILLISECONDS && running?.abort());
undo.addEventListener("click", manuscript.undo);
redo.addEventListener("click", manuscript.redo);
newText.addEventListener("click", () => {
  manuscript.put("");
  area.focus();
});
form.elements.model.addEventListener("change", () => {
  showModel();
  keepSoon();
});
form.addEventListener("input", keepSoon);
form.addEventListener("change", keepSoon);
addEventListener("pagehide", () => {
  running?.abort();
  keepNow();
});

copy.addEventListener("click", async () => {
  if (!navigator.clipboard) return area.select(); // over the network there is none
  await navigator.clipboard.writeText(manuscript.text).catch(() => area.select());
  stats.textContent = t("js.copied");
});

const drawEarlier = showEarlier((text) => {
  if (running) return;
  if (text.model in trained) form.elements.model.value = text.model;
  manuscript.put(text.text, text.from);
  showModel();
  area.focus();
});

views = showViews({ form, area, manuscript, shapes, card: openCard(area), goOn: start, isWriting: () => Boolean(running) });
compareBeside({ form, manuscript, trained, checkpoints, isWriting: () => Boolean(running) });
addSliders(form, sliders);
linkMoods(form, moods);
takeKept();
showPrecision(form, precisions);
forgetAddress();
showModel();
