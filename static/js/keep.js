// Keeps what was typed: on every page across a change of language, and in forms marked data-keep="draft" across a reload.

const CARRIED = "azr-typed"; // restored once, after the change of language
const draftKey = (form) => `azr-draft:${form.id}`;
const INPUTS = ":is(input, select, textarea):not([type=file], [type=range])";

// Keep the page's forms. Each of `links` leads to the same page in another language.
export function keepForms(links) {
  for (const link of links) link.addEventListener("click", () => store(CARRIED, { path: location.pathname, inputs: typed(document.querySelector("main")) }));
  for (const form of document.querySelectorAll("form[data-keep=draft]")) keepDraft(form);
  addEventListener("load", () => setTimeout(takeBack), { once: true }); // after the page's own scripts have filled it
}

// Save a form as a draft at every change. The draft lasts as long as the tab, or until `forgetDraft`.
function keepDraft(form) {
  for (const kind of ["input", "change"]) form.addEventListener(kind, () => store(draftKey(form), typed(form)));
}

export function forgetDraft(form) {
  take(draftKey(form));
}

const inputsOf = (root) => [...root.querySelectorAll(INPUTS)].filter((input) => input.closest("form") && (input.name || input.id));
const isSwitch = (input) => input.type === "checkbox" || input.type === "radio";
const nameOf = (input) => `${input.name || input.id}${isSwitch(input) ? `=${input.value}` : ""}`;

function typed(root) {
  return inputsOf(root).map((input) => [nameOf(input), isSwitch(input) ? input.checked : input.value]);
}

function takeBack() {
  for (const form of document.querySelectorAll("form[data-keep=draft]")) putAll(form, read(draftKey(form)) ?? []);
  const carried = take(CARRIED);
  if (carried?.path === location.pathname) putAll(document.querySelector("main"), carried.inputs);
}

function putAll(root, values) {
  for (const [name, value] of values) {
    const input = inputsOf(root).find((other) => nameOf(other) === name);
    if (input) put(input, value);
  }
}

function put(input, value) {
  const part = isSwitch(input) ? "checked" : "value";
  if (input[part] === value) return;
  input[part] = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

// ---- the tab's storage, which a browser may forbid ---------------------------------------------------------

function store(key, value) {
  try {
    sessionStorage.setItem(key, JSON.stringify(value));
  } catch {
    // nothing is kept
  }
}

function read(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

function take(key) {
  const value = read(key);
  try {
    sessionStorage.removeItem(key);
  } catch {
    // nothing was kept
  }
  return value;
}
