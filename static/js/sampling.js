// The sampling settings with which the person last had a text written, kept in this browser: the generation page starts with
// them, and so does the self-play of a new model, which is to write as its texts will be read.

const KEY = "azr-sampling";
const NAMES = ["temperature", "top_k", "top_p"];

export function rememberSampling(wishes) {
  try {
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(NAMES.map((name) => [name, wishes[name]]))));
  } catch {
    // Storage is forbidden: every page starts with the defaults.
  }
}

// Return the settings by name, none where nothing is kept.
export function rememberedSampling() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY)) ?? {};
    return Object.fromEntries(NAMES.filter((name) => Number.isFinite(kept[name])).map((name) => [name, kept[name]]));
  } catch {
    return {};
  }
}
