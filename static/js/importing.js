// Importing a model: one picked file, sent with a progress bar; the page then shows the new model.

import { sendFile } from "./upload.js";
import { bytes, percent, t } from "./text.js";

export function imports(form) {
  const input = form.querySelector("input[type=file]");
  const progress = form.querySelector("[data-role=import-progress]");
  const bar = progress.querySelector("progress");
  const note = form.querySelector("[data-role=import-note]");
  const problem = form.querySelector("[data-role=import-error]");

  input.addEventListener("change", async () => {
    const [file] = input.files;
    if (!file) return;
    problem.hidden = true;
    progress.hidden = false;
    try {
      const model = await sendFile("/import_model", file, {}, (sent, total) => showProgress(file, sent, total));
      location.assign(`/library?imported=${encodeURIComponent(model.name)}`);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      progress.hidden = true;
    }
    input.value = "";
  });

  function showProgress(file, sent, total) {
    bar.value = total ? sent / total : 0;
    note.textContent = sent >= total ? t("js.checking_model", { name: file.name }) : t("js.sending", { name: file.name, sent: percent(sent / total), total: bytes(total) });
  }
}
