// Runs before the first paint, so that nothing flashes: sets the remembered theme.
(function () {
  const root = document.documentElement;
  try {
    const theme = localStorage.getItem("azr-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch {
    // Storage is forbidden: follow the system's theme.
  }
})();
