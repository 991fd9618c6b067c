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

  const BROWSER = "ace-music-studio-browser";
  let coming = false; // whether this page came to show a job that runs already
  let stopping = false; // whether Cancel was pressed and the job has not ended yet
  let repaintLine = () => {};

  let name = ""; // of a browser that keeps nothing: its songs are this tab's

  /** The name by which the studio knows the songs and jobs of this browser: a secret, which nobody can guess. */
  function browser() {
    const part = (number) => number.toString(36).padStart(7, "0");
    name ||= Array.from(crypto.getRandomValues(new Uint32Array(5)), part).join("-");
    try {
      name = localStorage.getItem(BROWSER) || name;
      localStorage.setItem(BROWSER, name);
    } catch {
      // what is not kept serves as long as the tab is open
    }
    return name;
  }

  /** Turns the page busy for a job of its own, and names the browser. */
  function begin() {
    window.studio.unmade();
    busy(true);
    return [browser()];
  }

  /** Triggers `input` when the page that was loaded is told that it left a job, `select` when it has other weights. */
  function comesBack(props, trigger, watch) {
    watch("left", () => props.left && trigger("input"));
    watch("renewed", () => props.renewed && trigger("select"));
  }

  /** Lets the first line of a job that runs already turn the page busy, and names the browser. */
  function comeBack() {
    coming = !isBusy();
    return [browser()];
  }

  /** Says at once that the job is on its way to an end. */
  function cancelling() {
    stopping = isBusy();
    repaintLine();
    return [];
  }

  /** The progress line with "n of m" drawn as a bar; faults are told at their fields, or here where they have none. */
  function progress(element, props, watch) {
    const show = () => {
      const told = String(props.value ?? "");
      if (coming && told) busy(true);
      const line = stopping && !told.startsWith("cancelled") ? "cancelling" : told;
      const [, step, total] = line.match(/(\d+) of (\d+)/) ?? [];
      element.querySelector("[data-text]").textContent = line;
      element.querySelector(".bar").style.setProperty("--done", total ? step / total : 0);
      stage = isBusy() ? (line.match(/^\w+(?: · \d+ of \d+)?(?= ·|$)/) ?? [stage])[0].replace(" · ", " ") : "";
      repaintHeader();
    };
    repaintLine = show;
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
    coming = false;
    if (stopping) {
      stopping = false;
      repaintLine();
    }
    if (!working) return;
    document.querySelector("#progress [data-text]").textContent = stage;
    window.studio.tell([]);
  }

  /** A row of small buttons: the value is that of the one that was pressed. */
  function choices(element, props, trigger) {
    element.addEventListener("click", ({ target }) => {
      if (!("choice" in target.dataset)) return;
      props.value = JSON.parse(target.dataset.choice);
      trigger("select");
    });
  }

  /** Updates of a list of panes, each given by the modes in which it is seen. */
  function panes(mode, shownIn) {
    return shownIn.map((modes) => ({ __type__: "update", visible: modes.includes(mode) }));
  }

  window.studio = { ...window.studio, text, status, progress, busy, panes, choices };
  Object.assign(window.studio, { begin, comesBack, comeBack, cancelling, browser });
})();
