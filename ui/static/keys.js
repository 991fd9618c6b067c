// The keyboard: Ctrl or Cmd + Enter runs what is shown, Esc cancels, the focus outlives the button that had it, and each
// group of radios is one stop.
(() => {
  "use strict";

  const RUN = "#dock .run";
  const RESTING = "#retake, .alone button, .draft-actions button"; // while a job runs, as in form.css
  const OPEN = "dialog[open], [role=dialog], [role=menu], [role=listbox], [popover]"; // these close by Esc
  const SHORTCUTS = { run: "Control+Enter Meta+Enter", cancel: "Escape" };

  const isBusy = () => document.getElementById("desk").classList.contains("busy");
  const shown = (selector) => [...document.querySelectorAll(selector)].find((element) => element.checkVisibility());
  const isTyping = (event) => event.isComposing || event.keyCode === 229; // Esc and Enter are the input method's then

  // ---- what runs and stops a job

  let isTaken = false; // whether something was open when Esc went down: it may be gone when the key has gone through

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") isTaken = Boolean(shown(OPEN));
    if (event.key === "Tab" || event.target.type === "radio") document.querySelectorAll("fieldset[id]").forEach(oneStop);
  }, true);

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.repeat || isTyping(event)) return;
    const way = event.key === "Escape" && !isTaken ? "#cancel" : null;
    const button = shown(event.key === "Enter" && (event.ctrlKey || event.metaKey) ? RUN : way);
    if (!button) return;
    event.preventDefault();
    button.click();
  });

  // ---- where the focus stays

  document.addEventListener("click", (event) => {
    if (!isBusy() || !event.target.closest?.(RESTING)) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // by key they are still reached
  }, true);

  /** Passes the focus on from the button that goes to the one that comes; in any other place it stays. */
  function follow() {
    const comes = isBusy() ? shown("#cancel") : shown(RUN) ?? shown("#modes :checked"); // a view has nothing to run
    if (document.activeElement.matches(isBusy() ? RUN : "#cancel")) comes?.focus({ preventScroll: true });
    document.querySelectorAll(RESTING).forEach((button) => (button.ariaDisabled = isBusy() ? "true" : null));
  }

  const built = new MutationObserver(() => {
    const desk = document.getElementById("desk");
    if (!desk) return;
    built.disconnect();
    new MutationObserver(follow).observe(desk, { attributeFilter: ["class"] });
  });
  built.observe(document, { subtree: true, childList: true });

  /** Links that lead over the rail: the address stays as it is, for it may hold settings. */
  function skips(element) {
    element.addEventListener("click", (event) => {
      const link = event.target.closest("a");
      if (!link) return;
      event.preventDefault();
      const place = document.querySelector(link.hash);
      place.tabIndex = -1;
      place.focus();
    });
  }

  // Gradio makes the head of a message a button, with the one that closes it inside: to a screen reader that is one too
  // many, and folding a message that goes by itself is worth none.
  new MutationObserver(() => {
    document.querySelectorAll(".toast-header[role]").forEach((head) => {
      ["role", "tabindex", "aria-expanded"].forEach((name) => head.removeAttribute(name));
    });
  }).observe(document, { subtree: true, childList: true });

  // ---- groups of radios

  // Gradio names each radio differently, and does so again after each change: every one is a tab stop and arrows do
  // nothing. One name for all, given before a key acts, makes the group one stop again, with arrows to move inside;
  // where none is chosen, Chromium still stops at each.
  function oneStop(group) {
    const radios = [...group.querySelectorAll("input[type=radio]")];
    const stop = radios.find((radio) => radio.checked) ?? radios[0];
    radios.forEach((radio) => Object.assign(radio, { name: group.id, tabIndex: radio === stop ? 0 : -1 }));
  }

  document.addEventListener("focusin", ({ target }) => {
    const group = target.type === "radio" && target.closest("fieldset[id]");
    if (group) oneStop(group);
    const key = target.matches(RUN) ? SHORTCUTS.run : SHORTCUTS[target.id];
    if (key) target.setAttribute("aria-keyshortcuts", key);
  });

  Object.assign(window.studio, { skips });
})();
