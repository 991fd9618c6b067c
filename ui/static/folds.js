// What a fold says of the knobs in it: one reason for many of them.
(() => {
  "use strict";

  const FRAMES = 60; // a fold stands within so many after the heading of its form

  function tell(id, line, frames = FRAMES) {
    const label = document.querySelector(`#${id} > .label-wrap`);
    if (!label) {
      if (frames) requestAnimationFrame(() => tell(id, line, frames - 1));
      return;
    }
    const said = label.parentElement.querySelector(":scope > .reason") ?? document.createElement("p");
    said.className = "reason";
    said.textContent = line;
    label.after(said);
  }

  /** Keeps the lines above the folds of a form as they stand in the value of its heading. */
  function folds(props, watch) {
    let told = {};
    const show = () => {
      const now = props.value?.folds ?? {};
      for (const id of Object.keys(told)) if (!(id in now)) document.querySelector(`#${id} > .reason`)?.remove();
      for (const [id, line] of Object.entries(now)) tell(id, line);
      told = now;
    };
    watch("value", show);
    show();
  }

  Object.assign(window.studio, { folds });
})();
