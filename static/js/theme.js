// Runs before the first paint, so that nothing flashes: the remembered theme, and whether helps are folded away.
(function () {
  const root = document.documentElement;
  try {
    const theme = localStorage.getItem("azr-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    root.classList.toggle("no-helps", localStorage.getItem("azr-helps") === "off");
  } catch {
    // A browser that forbids storage follows the system and forgets.
  }
})();
