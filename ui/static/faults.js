// Faults at their fields: each says once what is wrong, opens the fold around it, and goes when the field is mended.
(() => {
  "use strict";

  const LOOK_MS = 200; // Gradio sets fields without an event, and makes those of a fold anew each time that it opens
  const FRAMES = 60; // a fold is open within so many

  let standing = []; // {at, fold, says, with, held}: held are the values of the fields that may mend it
  let watcher = 0;
  let whenMended = () => {};

  const field = (id) => document.getElementById(id);
  const inputs = (knob) => [...knob.querySelectorAll("input, textarea")];
  const note = (knob) => knob.querySelector(":scope > .fault-text");

  /** What a field holds, as text; null while it is not in the page. A recording counts as there or not. */
  function valueOf(id) {
    const knob = field(id);
    if (!knob) return null;
    if (knob.classList.contains("audio")) return knob.querySelector(".upload-container") ? "" : "a recording";
    return inputs(knob).map((input) => (/radio|checkbox/.test(input.type) ? input.checked : input.value)).join("\n");
  }

  /** Whether a field holds another value than before, or a recording for none; remembers what it holds. */
  function isChanged(fault, id) {
    const [before, now] = [fault.held[id], valueOf(id)];
    if (now === null || now === before) return false;
    fault.held[id] = now;
    return before != null && !(field(id).classList.contains("audio") && now === "");
  }

  function mark(id, texts) {
    const knob = field(id);
    if (!knob) return;
    knob.classList.add("fault");
    const said = note(knob) ?? knob.appendChild(document.createElement("p"));
    said.className = "fault-text";
    said.id = `${id}-fault`;
    const words = texts.join(" ");
    if (said.textContent !== words) said.textContent = words;
    inputs(knob).forEach((input) => {
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", said.id);
    });
  }

  function unmark(knob) {
    knob.classList.remove("fault");
    note(knob)?.remove();
    inputs(knob).forEach((input) => ["aria-invalid", "aria-describedby"].forEach((name) => input.removeAttribute(name)));
  }

  function repaint() {
    const texts = Map.groupBy
      ? Map.groupBy(standing, (fault) => fault.at)
      : standing.reduce((map, fault) => map.set(fault.at, [...(map.get(fault.at) ?? []), fault]), new Map());
    document.querySelectorAll(".knob.fault").forEach((knob) => texts.has(knob.id) || unmark(knob));
    texts.forEach((faults, id) => mark(id, faults.map((fault) => fault.says)));
  }

  function look() {
    standing = standing.filter((fault) => !fault.with.map((id) => isChanged(fault, id)).includes(true));
    repaint();
    if (standing.length) return;
    watcher = clearInterval(watcher);
    whenMended();
  }

  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

  /** Opens the fold of a fault and waits for its field; null where the page shows none. */
  async function reach({ at, fold }) {
    if (field(at)?.closest("#generate-form") && !fold && !field(at).checkVisibility()) studio.full();
    const bar = fold && field(fold)?.querySelector(":scope > button");
    if (bar && !bar.classList.contains("open")) bar.click();
    for (let i = 0; i < FRAMES && !field(at)?.checkVisibility(); i++) await frame();
    return field(at)?.checkVisibility() ? field(at) : null;
  }

  /** Shows these faults in place of those before, and goes to the first; returns what the page has no place for. */
  async function tell(faults, mended = () => {}) {
    whenMended = mended;
    standing = faults.map((fault) => ({ ...fault, held: {} }));
    standing.forEach((fault) => fault.with.forEach((id) => (fault.held[id] = valueOf(id))));
    repaint();
    if (!standing.length) return [];
    watcher ||= setInterval(look, LOOK_MS);
    const lost = [];
    let first = null;
    for (const fault of [...standing]) {
      const knob = await reach(fault);
      if (!knob) lost.push(fault.says);
      first ??= knob;
    }
    repaint();
    first?.scrollIntoView({ block: "center" });
    const ways = [...(first?.querySelectorAll("input, textarea, button") ?? [])];
    ways.find((way) => way.checkVisibility())?.focus({ preventScroll: true });
    return lost;
  }

  window.studio = { ...window.studio, tell };
})();
