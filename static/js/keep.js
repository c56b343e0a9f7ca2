// Another language is another page: what was typed goes along.

const KEY = "azr-typed";

// Each of `links` keeps the forms of this page; the page that comes takes them back, once, if it is of the same address.
export function keepForms(links) {
  for (const link of links) link.addEventListener("click", () => store(JSON.stringify({ path: location.pathname, inputs: typed() })));
  addEventListener("load", () => setTimeout(takeBack), { once: true }); // after the page's own scripts have filled it
}

const inputs = () => [...document.querySelectorAll("main form :is(input, select, textarea):not([type=file], [type=range])")];
const isSwitch = (input) => input.type === "checkbox" || input.type === "radio";
const nameOf = (input) => `${input.name || input.id}${isSwitch(input) ? `=${input.value}` : ""}`;

function typed() {
  return inputs().map((input) => [nameOf(input), isSwitch(input) ? input.checked : input.value]);
}

function takeBack() {
  const { path, inputs: kept } = JSON.parse(taken() ?? "{}");
  if (path !== location.pathname) return;
  for (const [name, value] of kept) {
    const input = inputs().find((other) => nameOf(other) === name);
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

function store(text) {
  try {
    sessionStorage.setItem(KEY, text);
  } catch {
    // A browser that forbids storage changes the language all the same.
  }
}

function taken() {
  try {
    const text = sessionStorage.getItem(KEY);
    sessionStorage.removeItem(KEY);
    return text;
  } catch {
    return null;
  }
}
