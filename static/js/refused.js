// A training that was refused when its model had just been created: the reason goes along to the page of the training.

const KEY = "azr-refused";

export function keepRefusal(model, { code, message, field, details }) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ model, code, message, field, details }));
  } catch {
    // Storage is forbidden: the forecast on that page says what is wrong, a moment later.
  }
}

// Return why the training of a model was refused, once; null where it was not.
export function takeRefusal(model) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY));
    sessionStorage.removeItem(KEY);
    return kept?.model === model ? kept : null;
  } catch {
    return null;
  }
}
