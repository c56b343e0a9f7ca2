// Files that are dropped anywhere on the page, because the browser would open a file that misses the zone; folders are walked through.

// Call `bring(files)` with the dropped files.
export function acceptDrops(zone, bring) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    zone.classList.add("is-dragging");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("is-dragging");
  });
  addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    zone.classList.remove("is-dragging");
    const given = [...event.dataTransfer.files];
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()); // gone after the first await
    if (!entries.some((entry) => entry?.isDirectory)) bring(given);
    else bring((await Promise.all(entries.filter(Boolean).map(filesIn))).flat(), true);
  });
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!some.length) return found;
    for (const each of some) found.push(...(await filesIn(each)));
  }
}
