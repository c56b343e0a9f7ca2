// Puts a help text beside the button that opened it; opening, closing and the Escape key are the browser's own.

const GAP = 8; // pixels between button and text, and to the edge of the window

for (const text of document.querySelectorAll(".help-popover")) {
  text.addEventListener("toggle", ({ newState }) => newState === "open" && place(text));
}

function place(text) {
  const button = document.querySelector(`[popovertarget="${CSS.escape(text.id)}"]`).getBoundingClientRect();
  const { width, height } = text.getBoundingClientRect();
  const below = button.bottom + GAP + height <= innerHeight;
  text.style.left = `${Math.max(GAP, Math.min(button.left, document.documentElement.clientWidth - width - GAP))}px`;
  text.style.top = `${Math.max(GAP, below ? button.bottom + GAP : button.top - GAP - height)}px`;
}

addEventListener("scroll", () => document.querySelector(".help-popover:popover-open")?.hidePopover(), { passive: true });
