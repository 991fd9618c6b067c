// What the page does without asking the server. Every text that a user wrote goes through textContent: templates of
// gr.HTML evaluate ${...} even inside {{...}}.
(() => {
  "use strict";

  /** Shows the value as plain text in the element marked [data-text]. */
  function text(element, props, watch) {
    const show = () => {
      element.querySelector("[data-text]").textContent = props.value ?? "";
    };
    watch("value", show);
    show();
  }

  let stage = ""; // what the running job says of itself, for the header too
  let repaintHeader = () => {};

  /** The header's line: checkpoint, device and state; while a job runs its stage stands for the state. */
  function status(element, props, watch) {
    repaintHeader = () => {
      const parts = String(props.value ?? "").split(" · ");
      const state = stage ? [...parts.slice(0, -1), stage] : parts;
      element.querySelector("[data-text]").textContent = state.join(" · ");
    };
    watch("value", repaintHeader);
    repaintHeader();
  }

  /** The progress line with "n of m" drawn as a bar; faults are told at their fields, or here where they have none. */
  function progress(element, props, watch) {
    const show = () => {
      const line = String(props.value ?? "");
      const [, step, total] = line.match(/(\d+) of (\d+)/) ?? [];
      element.querySelector("[data-text]").textContent = line;
      element.querySelector(".bar").style.setProperty("--done", total ? step / total : 0);
      stage = isBusy() ? (line.match(/^\w+(?: · \d+ of \d+)?(?= ·|$)/) ?? [stage])[0].replace(" · ", " ") : "";
      repaintHeader();
    };
    watch("value", show);
    watch("faults", async () => {
      const said = element.querySelector("[data-text]");
      const lost = await window.studio.tell(props.faults ?? [], () => (said.textContent = ""));
      if (lost.length) said.textContent += ` · ${lost.join(" ")}`;
    });
    show();
  }

  const isBusy = () => document.getElementById("desk").classList.contains("busy");

  /** Marks the page as working or at rest: the style sheet shows Cancel instead of the run buttons meanwhile. */
  function busy(working) {
    document.getElementById("desk").classList.toggle("busy", working);
    stage = working ? "queued" : "";
    repaintHeader();
    if (!working) return;
    document.querySelector("#progress [data-text]").textContent = stage;
    window.studio.tell([]);
  }

  /** Updates of a list of panes, each given by the modes in which it is seen. */
  function panes(mode, shownIn) {
    return shownIn.map((modes) => ({ __type__: "update", visible: modes.includes(mode) }));
  }

  // Gradio names each radio differently, and does so again after each change: every one is a tab stop and arrows do
  // nothing. One name for all, given before a key acts, makes the group one stop again, with arrows to move inside.
  const oneGroup = ({ target }) => {
    const group = target.type === "radio" && target.closest("fieldset");
    if (group) group.querySelectorAll("input[type=radio]").forEach((radio) => (radio.name = group.id));
  };
  document.addEventListener("focusin", oneGroup);
  document.addEventListener("keydown", oneGroup, true);

  window.studio = { ...window.studio, text, status, progress, busy, panes };
})();
