// Messages and numbers in the page's language. The messages come from the server's catalogues as one JSON.

const language = document.documentElement.lang;
const messages = JSON.parse(document.getElementById("messages").textContent);
const plurals = new Intl.PluralRules(language);
const UNKNOWN = "—";

export function inCatalogue(key) {
  return key in messages;
}

// Return the message under a key with its {names} filled in: t("js.iteration", {n: "12"})
export function t(key, values = {}) {
  const text = messages[key] ?? key;
  return fill(Array.isArray(text) ? text[0] : text, values);
}

// Return the name of a part of self-play's reward; a part that the catalogue does not know shows its own key.
export function rewardPart(name) {
  return inCatalogue(`reward.part.${name}`) ? t(`reward.part.${name}`) : name;
}

// Return the plural form of a message that fits n, with {n} filled in.
export function count(key, n, values = {}) {
  const forms = messages[key] ?? [key];
  const index = { one: 0, few: 1 }[plurals.select(n)] ?? forms.length - 1;
  return fill(forms[Math.min(index, forms.length - 1)], { n: number(n), ...values });
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

export function number(value, digits = 20) {
  return formatted(value, { maximumFractionDigits: digits });
}

export function decimal(value, digits) {
  return formatted(value, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// Return a number as a person types it: all digits, no groups, the language's decimal sign.
export function plain(value) {
  return isNumber(value) ? new Intl.NumberFormat(language, { maximumFractionDigits: 20, useGrouping: false }).format(value) : "";
}

// Format a number, with a minus sign instead of a hyphen.
function formatted(value, format) {
  return isNumber(value) ? new Intl.NumberFormat(language, format).format(value).replace("-", "\u2212") : UNKNOWN;
}

export function percent(share, digits = 0) {
  return formatted(share, { style: "percent", maximumFractionDigits: digits });
}

// Return a share of tokens: whole percents, or tenths of small ones: 71%, 0.4%
export function share(value) {
  return percent(value, value < 0.1 ? 1 : 0);
}

// Return a number with three significant digits: 0.0005, 1.23, 12,300
export function short(value) {
  return formatted(value, { maximumSignificantDigits: 3 });
}

export function bytes(value) {
  if (!isNumber(value)) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(value, 1)) / 3), units.length - 1);
  const scaled = value / 1000 ** power;
  return `${decimal(scaled, power && scaled < 100 ? 1 : 0)} ${t(`unit.${units[power]}`)}`;
}

// Return a duration in two units at most: 42 s, 3 min 20 s, 2 h 5 min, 3 d 4 h
export function duration(seconds) {
  if (!isNumber(seconds)) return UNKNOWN;
  const sizes = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let left = Math.max(0, Math.round(seconds));
  const found = sizes.findIndex(([, size]) => left >= size);
  const first = found < 0 ? sizes.length - 1 : found;
  const shown = [];
  for (const [unit, size] of sizes.slice(first, first + 2)) {
    const whole = Math.floor(left / size);
    left -= whole * size;
    if (whole || !shown.length) shown.push(`${whole} ${t(`unit.${unit}`)}`);
  }
  return shown.join(" ");
}
