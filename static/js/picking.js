// Two models are picked for a comparison; picking a third lets go of the first.

import { t } from "./text.js";

const bar = document.getElementById("compare-form");
let picked = [...document.querySelectorAll(".model-pick input:checked")]; // a reload may keep them

function show() {
  const [first, second] = picked.map((box) => box.value);
  bar.hidden = !first;
  document.getElementById("compare").disabled = !second;
  const note = second ? t("js.picked", { first, second }) : first ? t("js.pick_another", { name: first }) : "";
  document.getElementById("compare-note").textContent = note;
}

if (bar) {
  document.addEventListener("change", ({ target }) => {
    if (!target.matches(".model-pick input")) return;
    picked = target.checked ? [...picked, target] : picked.filter((box) => box !== target);
    while (picked.length > 2) picked.shift().checked = false;
    show();
  });
  show();
}
