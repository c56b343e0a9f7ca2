// Ask before something is deleted. If `action` fails, its message is shown and the dialog stays open.

import { busy } from "./form.js";
import { t } from "./text.js";

export function confirmDeletion(kind, name, action) {
  const dialog = document.getElementById("confirm");
  const problem = document.getElementById("confirm-error");
  document.getElementById("confirm-title").textContent = t(`js.delete_${kind}`, { name });
  document.getElementById("confirm-text").textContent = t(`js.delete_${kind}_text`);
  problem.hidden = true;
  document.getElementById("confirm-yes").onclick = (event) =>
    busy(event.currentTarget, async () => {
      try {
        await action();
        dialog.close();
        document.getElementById("main").focus(); // the button that was pressed is gone
      } catch (error) {
        problem.textContent = error.message;
        problem.hidden = false;
      }
    });
  dialog.showModal();
}
