// Forms: reads inputs as JSON for the API, and shows errors beside the input at fault.
// An input's data-kind is its type (int, float, bool, choice, text, texts); its name is the API's, with dots for nesting.

import { plain, t } from "./text.js";

const INVALID_MARKS = ["aria-invalid", "data-invalid"]; // a group of inputs has no aria-invalid
const INVALID = "[aria-invalid], [data-invalid]";
const CONTROLS = "[name][data-kind]:not([data-kind=book])";

// Return the values of a form. Throws FieldProblem for text that is no number; its details list every such input.
export function read(form) {
  const values = {};
  const problems = [];
  for (const control of form.querySelectorAll(CONTROLS)) {
    if (control.disabled) continue;
    try {
      put(values, control.name.split("."), valueOf(control));
    } catch (problem) {
      problems.push(problem);
    }
  }
  if (problems.length) throw Object.assign(problems[0], { details: problems });
  return values;
}

// Write values into a form's inputs; values without an input are skipped.
export function write(form, values, prefix = "") {
  for (const [name, value] of Object.entries(values)) {
    const control = form.elements[prefix + name];
    if (control) setValue(control, value);
    else if (value && typeof value === "object") write(form, value, `${prefix}${name}.`);
  }
}

export function setValue(control, value) {
  if (control.dataset.kind === "bool") control.checked = value;
  else if (control.dataset.kind === "float") control.value = plain(value);
  else control.value = Array.isArray(value) ? value.join("\n") : (value ?? "");
  control.dispatchEvent(new Event("valueset", { bubbles: true }));
}

export class FieldProblem extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

function put(values, [name, ...rest], value) {
  if (rest.length) put((values[name] ??= {}), rest, value);
  else values[name] = value;
}

export function valueOf(control) {
  switch (control.dataset.kind) {
    case "bool":
      return control.checked;
    case "int":
    case "float":
      return numberOf(control);
    case "texts":
      return control.value.split("\n").filter((line) => line.trim());
    default:
      return control.value;
  }
}

// Return a typed number. Both comma and point are accepted, and spaces between groups of digits.
function numberOf(control) {
  const text = control.value.replace(/\s/g, "").replace(",", ".");
  if (text !== "" && Number.isFinite(Number(text))) return Number(text);
  if (text === "" && "optional" in control.dataset && !control.validity.badInput) return null;
  throw new FieldProblem(control.name, t("js.number_needed"));
}

// ---- errors ---------------------------------------------------------------------------------------------------------

export function clearErrors(form) {
  for (const control of form.querySelectorAll(INVALID)) INVALID_MARKS.forEach((mark) => control.removeAttribute(mark));
  for (const place of form.querySelectorAll(".field-error, .form-error")) say(place, "");
}

// Remove a field's error as soon as the person changes the field, and an error of the whole form with any change.
export function clearErrorsOnInput() {
  for (const kind of ["input", "change"]) document.addEventListener(kind, (event) => clearErrorAt(event.target));
}

function clearErrorAt(control) {
  const form = control.closest("form");
  if (!form) return;
  const box = control.closest("[data-field]");
  for (const marked of box?.querySelectorAll(INVALID) ?? []) INVALID_MARKS.forEach((mark) => marked.removeAttribute(mark));
  INVALID_MARKS.forEach((mark) => box?.removeAttribute(mark));
  say(box?.querySelector(":scope > .field-error"), "");
  say(form.querySelector(".form-error"), "");
}

// Show an error at its field and, if `focus`, scroll there; an error without a field is shown at the form's button.
export function showError(form, error, { focus = true } = {}) {
  for (const { field, message } of error.details?.length ? error.details : [error]) place(form, field, message);
  const first = form.querySelector(INVALID);
  if (focus && first) reveal(first);
}

function place(form, field, message) {
  const box = fieldBox(form, field);
  if (!box) return say(form.querySelector(".form-error"), message);
  say(box.querySelector(":scope > .field-error"), message);
  if (box.matches("fieldset")) box.setAttribute("data-invalid", "true");
  else box.querySelector("input, select, textarea").setAttribute("aria-invalid", "true");
}

function fieldBox(form, field) {
  if (!field) return null;
  return form.querySelector(`[data-field="${CSS.escape(field)}"]`) ?? fieldBox(form, field.split(".").slice(0, -1).join("."));
}

// Write an error beside what it is about; an empty one hides its place.
export function say(place, message) {
  if (!place) return;
  place.textContent = message;
  place.hidden = !message;
}

function reveal(control) {
  for (let box = control.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  control.focus({ preventScroll: true });
  const shown = control.closest("[data-field]")?.querySelector(":scope > .field-error") ?? control;
  glide(shown, "center"); // a list of books is longer than the window
}

// Scroll to a part of the page, at once for people who asked for less motion.
export function glide(element, block = "nearest") {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block, behavior: still ? "auto" : "smooth" });
}

// Run an action and ignore further presses of its button meanwhile.
export async function busy(button, action) {
  if (button.dataset.busy) return;
  button.dataset.busy = "true";
  button.classList.add("busy");
  button.setAttribute("aria-disabled", "true");
  try {
    await action();
  } finally {
    delete button.dataset.busy;
    button.classList.remove("busy");
    button.removeAttribute("aria-disabled");
  }
}

// Run an action; what it throws is shown at `place`.
export async function attempt(place, action) {
  say(place, "");
  try {
    await action();
  } catch (error) {
    say(place, error.message);
  }
}
