// What the generation page keeps in this browser: the manuscript as it stands, and the texts that were written earlier.

const NOW = "azr-manuscript";
const EARLIER = "azr-texts";
const MOST_TEXTS = 100;
const MOST_CHARACTERS = 1_500_000; // of all earlier texts together

export function keepManuscript(state) {
  if (!store(NOW, state)) store(NOW, { ...state, done: [], undone: [] }); // no room for what can be taken back
}

export const keptManuscript = () => read(NOW);

// Return the earlier texts, the newest first: {at, model, version, text, from, seed, tokens}; `from` is where the model began.
export const earlierTexts = () => read(EARLIER) ?? [];

// Keep a text in the place of those that it only goes on with.
export function keepText(text) {
  const others = earlierTexts().filter((other) => !(text.text.startsWith(other.text) && other.model === text.model));
  storeTexts([text, ...others]);
}

export function forgetText(at) {
  storeTexts(earlierTexts().filter((text) => text.at !== at));
}

export function forgetTexts() {
  storeTexts([]);
}

function storeTexts(texts) {
  let size = 0;
  const kept = texts.slice(0, MOST_TEXTS).filter((text) => (size += text.text.length) <= MOST_CHARACTERS);
  while (!store(EARLIER, kept) && kept.length) kept.splice(-Math.ceil(kept.length / 4));
}

// ---- the browser's storage, which may be forbidden or full -------------------------------------------------------

function store(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}
