// A notification of the browser when a training ends while its page is not looked at. It is asked for by a button, never on its own.

import { number, t } from "./text.js";

const button = document.getElementById("notify"); // on the training page alone
const isPossible = typeof Notification !== "undefined";

let answered = false; // by the person, on this page: the button stays and says what was decided

// Offer the button while a training runs and nothing has been decided yet.
export function offerNotification(active) {
  if (button) button.hidden = !(active && isPossible && (answered || Notification.permission === "default"));
}

button?.addEventListener("click", async () => {
  const answer = await Notification.requestPermission();
  if (answer === "default") return; // closed without a decision
  answered = button.disabled = true;
  button.textContent = t(answer === "granted" ? "js.notify_on" : "js.notify_off");
});

// Tell how the training of a model ended, if the person has allowed it and looks elsewhere.
export function notifyEnd({ model, state, iteration }) {
  if (!isPossible || Notification.permission !== "granted" || !document.hidden) return;
  const note = new Notification(model, { body: `${t(`state.${state}`)} · ${t("js.tab_iteration", { n: number(iteration) })}`, tag: "azr-training" });
  note.addEventListener("click", () => (window.focus(), note.close()));
}
