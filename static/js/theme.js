// Runs before the first paint, so that nothing flashes: sets the remembered theme and hides help texts if so chosen.
(function () {
  const root = document.documentElement;
  try {
    const theme = localStorage.getItem("azr-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    root.classList.toggle("no-helps", localStorage.getItem("azr-helps") === "off");
  } catch {
    // Storage is forbidden: follow the system's theme.
  }
})();
