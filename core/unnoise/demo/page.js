(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const toggle = document.querySelector("[data-theme-toggle]");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const label = () => {
    const next = isDark() ? "Light" : "Dark";
    toggle.lastElementChild.textContent = next;
    toggle.setAttribute("aria-label", next + " colours");
  };
  try {
    const kept = localStorage.getItem("unnoise-theme");
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  } catch {}
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("unnoise-theme", root.dataset.theme); } catch {}
    label();
  });
  dark.addEventListener("change", label);
  label();
  toggle.hidden = false;

  const status = document.querySelector("[data-status]");
  const copy = async (text, from) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      getSelection().selectAllChildren(from);
      return document.execCommand("copy");
    }
  };
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.closest(".code").querySelector("code");
      const done = (await copy(code.textContent, code)) ? "Copied" : "Press Ctrl+C";
      button.textContent = status.textContent = done;
      setTimeout(() => { button.textContent = "Copy"; status.textContent = ""; }, 2000);
    });
  }
})();
