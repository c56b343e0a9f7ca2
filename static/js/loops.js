// Texts of self-play with their loops and copied phrases marked: the places where the model repeats itself and those that stand
// in the books, for eyes and for screen readers.

import { t } from "./text.js";

// Return the parts of a text, its loops and copies as <mark>. Both are [start, end) in code points, as Python counts characters;
// a loop may stand inside a copy.
export function marked(text, loops, copies = []) {
  const characters = [...text];
  const parts = [];
  let done = 0;
  for (const [start, end] of copies) {
    parts.push(...withLoops(characters, done, start, loops), mark("copied", withLoops(characters, start, end, loops)));
    done = end;
  }
  return [...parts, ...withLoops(characters, done, characters.length, loops)];
}

// Return the characters of a range, the loops in it as <mark>.
function withLoops(characters, from, to, loops) {
  const parts = [];
  let done = from;
  for (const [start, end] of loops.map(([start, end]) => [Math.max(start, from), Math.min(end, to)])) {
    if (start >= end) continue;
    const [, before, text, after] = characters.slice(start, end).join("").match(/^(\s*)(.*?)(\s*)$/su); // a token often begins with a space
    parts.push(characters.slice(done, start).join("") + before, ...(text ? [mark("loop", [text])] : []), after);
    done = end;
  }
  return [...parts, characters.slice(done, to).join("")];
}

function mark(kind, parts) {
  const element = document.createElement("mark");
  element.className = kind;
  element.append(spoken(`js.${kind}_begins`), ...parts, spoken(`js.${kind}_ends`));
  return element;
}

function spoken(key) {
  const element = document.createElement("span");
  element.className = "visually-hidden";
  element.textContent = `[${t(key)}] `;
  return element;
}
