// The dialog that opens the server to the local network, shows its link once, and closes it again.

import { get, post, remove } from "./api.js";
import { busy } from "./form.js";
import { t } from "./text.js";

const opener = document.getElementById("phone-button");
const dialog = document.getElementById("phone");
const part = (name) => document.getElementById(`phone-${name}`);
const toggle = part("switch");

async function look() {
  const state = await get("/network");
  toggle.checked = state.open;
  toggle.disabled = !state.possible;
  opener.classList.toggle("is-open", state.open);
  part("places").hidden = state.addresses.length < 2;
  part("place").replaceChildren(...state.addresses.map((address) => new Option(address)));
  if (state.address && state.addresses.includes(state.address)) part("place").value = state.address;
  part("known").hidden = !state.open;
  part("known-text").textContent = t("js.phone_known", { address: state.address ?? "" });
  hideLink();
}

function hideLink() {
  part("link").hidden = true;
  part("address").value = "";
  part("qr").removeAttribute("src");
}

async function open() {
  const chosen = part("place").value;
  const { link, qr } = await post("/network", chosen ? { address: chosen } : {});
  opener.classList.add("is-open");
  toggle.checked = true;
  part("address").value = link;
  part("qr").hidden = !qr;
  if (qr) part("qr").src = qr;
  part("link").hidden = false;
  part("known").hidden = true;
}

async function close() {
  await remove("/network");
  await look();
}

// Run one change, and say what stands in its way.
function attempt(control, action) {
  part("error").hidden = true;
  return busy(control, async () => {
    try {
      await action();
    } catch (error) {
      part("error").textContent = error.message;
      part("error").hidden = false;
      toggle.checked = opener.classList.contains("is-open");
    }
  });
}

opener.addEventListener("click", async () => {
  part("error").hidden = true;
  dialog.showModal();
  part("title").focus();
  await attempt(opener, look);
});
dialog.addEventListener("close", hideLink); // whoever passes by reads no link
toggle.addEventListener("change", () => attempt(toggle, toggle.checked ? open : close));
part("place").addEventListener("change", () => toggle.checked && attempt(toggle, open));
part("renew").addEventListener("click", () => attempt(part("renew"), open));
part("copy").addEventListener("click", async () => {
  part("address").select();
  await navigator.clipboard?.writeText(part("address").value).catch(() => {});
  part("copy").textContent = t("js.phone_copied");
  setTimeout(() => (part("copy").textContent = t("js.phone_copy")), 2000);
});
