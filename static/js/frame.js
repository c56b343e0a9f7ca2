// What every page has: the theme button, help texts that open beside their buttons, typed text that survives a change of
// language, and the progress of a training in its tab.

import { get } from "./api.js";
import { clearErrorsOnInput } from "./form.js";
import { keepForms } from "./keep.js";
import "./popovers.js";
import { showTabProgress } from "./tab.js";
import { count } from "./text.js";

const POLL_MILLISECONDS = 5000;
const root = document.documentElement;

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Storage is forbidden: the choice lasts until the page is left.
  }
}

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

const themeButton = document.getElementById("theme-toggle");

function showTheme() {
  themeButton.setAttribute("aria-pressed", String(isDark()));
  root.classList.toggle("dark-mode", isDark()); // the class that Swagger UI's style sheet expects
}

function announceTheme() {
  showTheme();
  document.dispatchEvent(new CustomEvent("themechange"));
}

themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  remember("azr-theme", root.dataset.theme);
  announceTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announceTheme);
showTheme();

// Put the unit beside an input into the form that fits its number: 1 layer, 2 layers.
function agree(control) {
  const unit = control.parentElement?.querySelector(".unit");
  if (unit?.dataset.unit && control.value) unit.textContent = count(`unit.${unit.dataset.unit}`, Number(control.value.replace(",", ".")));
}
document.addEventListener("input", (event) => agree(event.target));
document.addEventListener("valueset", (event) => agree(event.target));

async function poll() {
  if (!document.hidden) await get("/training_status").then(showTabProgress, () => {});
  setTimeout(poll, POLL_MILLISECONDS);
}

// The training page has the event stream and needs no polling here.
if (document.body.dataset.page !== "training" || !document.getElementById("training")) poll();

keepForms(document.querySelectorAll(".languages a"));
clearErrorsOnInput();
