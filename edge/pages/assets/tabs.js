// Tabs, by mouse and arrow keys (ARIA Authoring Practices: tabs with automatic activation).

/**
 * @param {HTMLElement} list the tablist, whose tabs name their panels
 * @param {(tab: HTMLElement) => void} onChosen
 * @returns what chooses a tab
 */
export function createTabs(list, onChosen) {
  const tabs = [...list.querySelectorAll("button")];
  /** @param {HTMLElement} chosen */
  const choose = (chosen) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
    }
    onChosen(chosen);
  };
  for (const [i, tab] of tabs.entries()) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[key];
      const next = to === undefined ? undefined : tabs[to % tabs.length];
      if (next === undefined) return;
      choose(next);
      next.focus();
    });
  }
  return choose;
}
