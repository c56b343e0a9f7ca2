// Importing a model: one file, picked or dropped, sent with a progress bar; the page then shows the new model.

import { acceptDrops } from "./dropped.js";
import { sendFile } from "./upload.js";
import { bytes, percent, t } from "./text.js";

const ENDINGS = [".zip", ".gguf"];

export function imports(form) {
  const input = form.querySelector("input[type=file]");
  const progress = form.querySelector("[data-role=import-progress]");
  const bar = progress.querySelector("progress");
  const note = form.querySelector("[data-role=import-note]");
  const problem = form.querySelector("[data-role=import-error]");
  let sending = false;

  async function bring(file) {
    if (!file || sending) return;
    say("");
    form.scrollIntoView({ block: "nearest" }); // it may have been dropped far above
    if (!ENDINGS.some((ending) => file.name.toLowerCase().endsWith(ending))) return say(t("js.import_no_model", { name: file.name }));
    progress.hidden = false;
    sending = true;
    try {
      const model = await sendFile("/import_model", file, {}, (sent, total) => showProgress(file, sent, total));
      location.assign(`/library?imported=${encodeURIComponent(model.name)}`);
    } catch (error) {
      say(`${file.name}: ${error.message}`);
    }
    progress.hidden = true;
    sending = false;
  }

  function showProgress(file, sent, total) {
    bar.value = total ? sent / total : 0;
    note.textContent = sent >= total ? t("js.checking_model", { name: file.name }) : t("js.sending", { name: file.name, sent: percent(sent / total), total: bytes(total) });
  }

  function say(message) {
    problem.textContent = message;
    problem.hidden = !message;
  }

  input.addEventListener("change", () => {
    bring(input.files[0]);
    input.value = "";
  });
  acceptDrops(form, ([file]) => bring(file));
}
