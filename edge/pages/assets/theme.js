// Light, dark or as the system has it: applied before the page is shown, so that it does not flash. Not a module.

{
  const KEY = "vqd.theme";
  const LABELS = { "": "Theme: system", light: "Theme: light", dark: "Theme: dark" };
  const NEXT = { "": "light", light: "dark", dark: "" };

  /** @returns {"" | "light" | "dark"} */
  const stored = () => {
    const theme = localStorage.getItem(KEY);
    return theme === "light" || theme === "dark" ? theme : "";
  };
  const apply = () => {
    const theme = stored();
    if (theme === "") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
    const button = document.getElementById("theme");
    if (!(button instanceof HTMLButtonElement)) return;
    button.textContent = LABELS[theme];
    button.hidden = false;
  };

  apply();
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme")?.addEventListener("click", () => {
      localStorage.setItem(KEY, NEXT[stored()]);
      apply();
    });
  });
  addEventListener("storage", apply);
}
