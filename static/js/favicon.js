// The mark in the browser's tab: while a training runs, a ring around the book that closes with its progress.

const icon = document.querySelector("link[rel=icon]");
const own = icon.href;
const AROUND = 2 * Math.PI * 17;
let shown = null;

// Show a share from 0 to 1 as a ring; null brings the usual mark back.
export function showOnFavicon(share) {
  const percent = share === null ? null : Math.round(share * 100);
  if (percent === shown) return;
  shown = percent;
  icon.href = percent === null ? own : `data:image/svg+xml,${encodeURIComponent(ring(percent / 100))}`;
}

function ring(share) {
  const arc = `stroke-dasharray="${(share * AROUND).toFixed(1)} ${AROUND.toFixed(1)}" transform="rotate(-90 20 20)"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40" fill="none" stroke-linecap="round"><circle cx="20" cy="20" r="20" fill="#0f6b5c"/><circle cx="20" cy="20" r="17" stroke="#3c8a7c" stroke-width="5"/><circle cx="20" cy="20" r="17" stroke="#ffffff" stroke-width="5" ${arc}/><path d="M13 15c3-1 5-.6 7 1 2-1.6 4-2 7-1v10c-3-1-5-.6-7 1-2-1.6-4-2-7-1z" stroke="#7fe3cd" stroke-width="2"/></svg>`;
}
