// The settings of a text: a slider for each number, and three moods that set several at once.

import { setValue, valueOf } from "./form.js";

// Give each number of the form a slider; both always show the same.
export function addSliders(form, bounds) {
  for (const [name, [min, max, step]] of Object.entries(bounds)) {
    const control = form.elements[name];
    const slider = Object.assign(document.createElement("input"), { type: "range", min, max, step, className: "slider" });
    slider.setAttribute("aria-label", form.querySelector(`label[for="${control.id}"]`).firstChild.textContent.trim());
    const follow = () => {
      const value = numberIn(control);
      if (value !== null) slider.value = value;
    };
    slider.addEventListener("input", () => {
      setValue(control, Number(slider.value));
      control.dispatchEvent(new Event("input", { bubbles: true }));
    });
    for (const kind of ["input", "valueset"]) control.addEventListener(kind, follow);
    control.parentElement.after(slider);
    follow();
  }
}

// Let the mood's buttons set their values, and show which mood the values are; none where they are the person's own.
export function linkMoods(form, moods) {
  const buttons = [...form.querySelectorAll("[name=mood]")];
  const names = Object.keys(Object.values(moods)[0]);
  const fits = (mood) => names.every((name) => numberIn(form.elements[name]) === mood[name]);

  function show() {
    for (const button of buttons) button.checked = fits(moods[button.value]);
  }

  for (const button of buttons) {
    button.addEventListener("change", () => {
      for (const [name, value] of Object.entries(moods[button.value])) {
        setValue(form.elements[name], value);
        form.elements[name].dispatchEvent(new Event("input", { bubbles: true }));
      }
    });
  }
  form.addEventListener("input", (event) => names.includes(event.target.name) && show());
  form.addEventListener("valueset", (event) => names.includes(event.target.name) && show());
  show();
}

function numberIn(control) {
  try {
    return valueOf(control);
  } catch {
    return null;
  }
}
