// The generation page: the text streams in as it is written, and can be stopped and copied.

import { ApiError, path, send } from "./api.js";
import { eventsOf } from "./events.js";
import { busy, clearErrors, read, setValue, showError } from "./form.js";
import { rememberSampling, rememberedSampling } from "./sampling.js";
import { count, t } from "./text.js";

const form = document.getElementById("generate-form");
const { trained, prompts } = JSON.parse(document.getElementById("page-data").textContent);
const button = document.getElementById("generate");
const cancel = document.getElementById("cancel");
const output = document.getElementById("output");
const stats = document.getElementById("stats");
const copy = document.getElementById("copy");
const [promptText, completion] = output.children;
let promptIsOwn = form.elements.prompt.value !== form.elements.prompt.defaultValue; // written by the person, perhaps before this ran
let running = null; // an AbortController while a text is being written

function showModel() {
  const name = form.elements.model.value;
  document.getElementById("untrained").hidden = trained[name];
  document.getElementById("untrained-link").href = path`/training?model=${name}`;
  button.disabled = !trained[name];
  if (!promptIsOwn) form.elements.prompt.value = prompts[name];
}

// Start with the settings of the last text; those that were typed before this ran stay.
function takeSampling() {
  for (const [name, value] of Object.entries(rememberedSampling())) {
    const control = form.elements[name];
    if (control.value === control.defaultValue) setValue(control, value);
  }
}

function begin(prompt) {
  promptText.textContent = prompt;
  completion.textContent = "";
  stats.textContent = t("js.writing");
  output.classList.add("is-writing");
  document.getElementById("output-empty").hidden = true;
  cancel.hidden = false;
  copy.hidden = true;
  output.scrollTop = output.scrollHeight; // a long beginning would hide what is written below it
  showOutput();
}

function end() {
  output.classList.remove("is-writing");
  cancel.hidden = true;
  copy.hidden = !completion.textContent;
  running = null;
}

const endsInView = () => output.getBoundingClientRect().bottom <= innerHeight + 1;
const showOutput = () => output.scrollIntoView({ block: "nearest" });

// Follow the text at the bottom, of its box and of the window, unless the person has scrolled up to read.
function append(text) {
  const atBottom = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
  const inView = endsInView();
  completion.append(text);
  if (atBottom) output.scrollTop = output.scrollHeight;
  if (inView && !endsInView()) showOutput();
}

function showStats({ tokens, tokens_per_second: speed, finish_reason: reason, engine, prompt_tokens: all, prompt_tokens_read: read }) {
  const parts = [count("js.tokens", tokens)];
  if (speed) parts.push(count("js.speed", speed < 10 ? Math.round(speed * 10) / 10 : Math.round(speed)));
  if (reason) parts.push(t(`js.finish_${reason}`));
  if (engine) parts.push(engine);
  if (read < all) parts.push(t("js.prompt_cut", { read, all }));
  stats.textContent = parts.join(" · ");
}

async function generate() {
  clearErrors(form);
  running = new AbortController();
  let tokens = 0;
  try {
    const wishes = read(form);
    begin(wishes.prompt);
    const response = await send("POST", "/generate", { ...wishes, stream: true }, { signal: running.signal });
    rememberSampling(wishes); // the server has accepted them
    for await (const { event, data } of eventsOf(response)) {
      if (event === "error") throw new ApiError(data.error ?? data);
      tokens = data.tokens;
      if (event === "token") append(data.text);
      if (event === "done") showStats(data);
    }
  } catch (error) {
    fail(error, tokens);
  }
  end();
}

function fail(error, tokens) {
  if (error.name === "AbortError") return showStats({ tokens, finish_reason: "cancelled" });
  const problem = error.field === undefined ? new ApiError({ message: t("js.unreachable") }) : error;
  stats.textContent = "";
  document.getElementById("output-empty").hidden = Boolean(completion.textContent);
  showError(form, problem);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!button.disabled) busy(button, generate);
});
form.elements.prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(button);
});
form.elements.prompt.addEventListener("input", () => (promptIsOwn = true));
cancel.addEventListener("click", () => running?.abort());
addEventListener("pagehide", () => running?.abort());
form.elements.model.addEventListener("change", showModel);

copy.addEventListener("click", async () => {
  await navigator.clipboard.writeText(output.textContent).catch(() => selectOutput());
  copy.textContent = t("js.copied");
  setTimeout(() => (copy.textContent = t("js.copy")), 2000);
});

function selectOutput() {
  getSelection().selectAllChildren(output);
}

takeSampling();
showModel();
