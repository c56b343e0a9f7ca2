// Texts of self-play with their loops marked: the places where the model repeats itself, for eyes and for screen readers.

import { t } from "./text.js";

// Return the parts of a text, its loops as <mark>. `loops` are [start, end) in code points, as Python counts characters.
export function marked(text, loops) {
  const characters = [...text];
  const parts = [];
  let done = 0;
  for (const [start, end] of loops) {
    const [, before, text, after] = characters.slice(start, end).join("").match(/^(\s*)(.*?)(\s*)$/su); // a token often begins with a space
    parts.push(characters.slice(done, start).join("") + before, ...(text ? [mark(text)] : []), after);
    done = end;
  }
  return [...parts, characters.slice(done).join("")];
}

function mark(text) {
  const element = document.createElement("mark");
  element.className = "loop";
  element.append(spoken("js.loop_begins"), text, spoken("js.loop_ends"));
  return element;
}

function spoken(key) {
  const element = document.createElement("span");
  element.className = "visually-hidden";
  element.textContent = `[${t(key)}] `;
  return element;
}
