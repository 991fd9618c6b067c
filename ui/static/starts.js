// Where a form starts from: what this browser kept of it, presets, examples, an idea, a link. The browser keeps values by
// name and nothing else; the studio checks each of them before it stands in a form again.
(() => {
  "use strict";

  const FORMS = "ace-music-studio-forms";
  const PRESETS = "ace-music-studio-presets";
  const SIZE = "ace-music-studio-form-size";
  const LINK = "#s=";
  const WRITE_MS = 200; // what is typed is written when the user pauses
  const LOST_MS = 15_000; // an answer that takes longer does not come

  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const root = document.documentElement;

  function load(key, fallback) {
    try {
      return JSON.parse(localStorage.getItem(key)) ?? fallback;
    } catch {
      return fallback; // a browser that keeps nothing, or something that is not ours
    }
  }

  function store(key, value) {
    try {
      localStorage.setItem(key, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  }

  // ---- the hub: one question at a time, in turn

  let hubs = null; // {props, trigger}
  let waiting = [];
  let asked = null;
  let whenThere = [];

  /** Calls a function once the hub is there. */
  const there = (act) => (hubs ? act() : whenThere.push(act));

  async function next() {
    if (asked && Date.now() - asked.since < LOST_MS) return;
    asked = waiting.shift() ?? null;
    if (!asked) return;
    asked.since = Date.now();
    const { what, event } = asked;
    const held = await collect();
    if (event === "release" && what.kind !== "restore") studio.keep(held);
    hubs.props.value = event === "submit" ? { ...what, values: differing(what.mode, false) } : what;
    hubs.trigger(event);
  }

  function ask(what, words = "", event = "release") {
    waiting.push({ what, words, event });
    next();
  }

  /** Brings back a song and the settings that made it; `turn` leads to its form too. */
  function recall(id, takes, turn) {
    there(() => ask({ kind: "song", id, takes, turn }));
    return [];
  }

  function answered() {
    const question = asked;
    asked = null;
    next();
    return question;
  }

  /** The forms stand as the hub asked: offers to undo it. */
  function started() {
    const { what, words } = answered() ?? { what: {}, words: "" };
    if (what.kind === "restore") isReady = true;
    else collect().then((held) => studio.recalled(held, words || undefined));
    if (what.kind === "link" || what.turn || what.values?.prompt || what.values?.lyrics) full();
    return [];
  }

  function hub(props, trigger, watch) {
    hubs = { props, trigger };
    whenThere.forEach((act) => act());
    watch("link", () => {
      if (asked?.event === "submit") bars[answered().what.mode]?.show(props.link.text);
    });
    const modes = load(FORMS, {});
    // After the first paint: what is kept need not be there before the page is.
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (Object.values(modes).some((values) => Object.keys(values ?? {}).length)) ask({ kind: "restore", modes });
      else isReady = true;
      follow();
    }));
  }

  function follow() {
    if (!location.hash.startsWith(LINK)) return;
    const text = location.hash.slice(LINK.length);
    history.replaceState(null, "", location.pathname + location.search); // a reload keeps what was changed since
    ask({ kind: "link", text }, "The settings of the link are in the form.");
  }
  addEventListener("hashchange", () => there(follow));

  // ---- what the forms hold

  const now = {}; // by mode, the values by name
  let isReady = false; // whether what was kept stands in the forms again
  let writer = 0;

  /** What of a form is not as it was at first; recordings only where they are to be kept. */
  function differing(mode, withFiles) {
    const first = hubs.props.forms[mode];
    const plain = (value) => (value && typeof value === "object" ? (withFiles && value.path) || null : value ?? null);
    const settings = Object.entries(now[mode] ?? {}).filter(([name]) => !hubs.props.unheard.includes(name));
    const told = settings.map(([name, value]) => [name, plain(value)]);
    const empty = (value) => (value === "" ? null : value ?? null); // a number field says either
    return Object.fromEntries(told.filter(([name, value]) => !same(empty(value), empty(first[name]))));
  }

  const written = load(FORMS, {}); // as this tab knows it: another one may have written other forms since

  function write() {
    const mine = Object.keys(now).map((mode) => [mode, differing(mode, true)]);
    const changed = mine.filter(([mode, values]) => !same(values, written[mode] ?? {}));
    if (!changed.length) return;
    Object.assign(written, Object.fromEntries(changed));
    store(FORMS, { ...load(FORMS, {}), ...Object.fromEntries(changed) });
  }

  let asking = []; // who waits to be told what the forms hold

  /** What the mode and the forms hold, in the order in which they can be set. */
  function collect() {
    return new Promise((tell) => {
      asking.push(tell);
      hubs.trigger("tick"); // for each who asks: one that is lost must not keep the others waiting
    });
  }

  /** The page tells what the forms hold, after the mode. */
  function told(held) {
    let at = 1;
    for (const [mode, first] of Object.entries(hubs.props.forms)) {
      now[mode] = Object.fromEntries(Object.keys(first).map((name) => [name, held[at++]]));
    }
    const waiters = asking;
    asking = [];
    waiters.forEach((tell) => tell(held));
    return [];
  }

  /** Keeps what the forms hold in this browser, after something in them has changed; hands its argument on. */
  function touched(values) {
    if (isReady) {
      clearTimeout(writer);
      writer = setTimeout(() => collect().then(write), WRITE_MS);
    }
    return values;
  }
  addEventListener("pagehide", () => isReady && collect().then(write));

  // ---- the simple form and the full one

  function resize(size) {
    root.dataset.form = size;
    document.querySelectorAll("[data-size]").forEach((each) => {
      each.ariaPressed = String(each.dataset.size === size);
    });
  }
  resize(load(SIZE, "simple") === "full" ? "full" : "simple");

  /** Shows the full form, for what has come into it, until the page is loaded again. */
  const full = () => {
    resize("full");
    return [];
  };

  document.addEventListener("click", ({ target }) => target.closest?.("#use-lyrics, #reuse-plan") && full());

  // ---- the bar under the heading of a form

  const bars = {};

  function button(words, act, facts = {}) {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent: words, ...facts });
    made.addEventListener("click", act);
    return made;
  }

  /** Shows a link of a song or a form, and puts it into the clipboard where that may be written. */
  async function showLink(element, text) {
    const [box, input, said] = [".link", "input", "p"].map((part) => element.querySelector(part));
    box.hidden = false;
    input.value = location.origin + location.pathname + LINK + text;
    said.textContent = "Copy this link:";
    try {
      await navigator.clipboard.writeText(input.value);
      said.textContent = "Link copied";
    } catch {
      input.select(); // the browser gives the clipboard to nobody here
    }
  }

  function bar(element, mode) {
    const find = (selector) => element.querySelector(selector);
    bars[mode] = { show: (text) => showLink(element, text) };
    element.querySelectorAll("[data-size]").forEach((each) => {
      each.addEventListener("click", () => {
        store(SIZE, each.dataset.size);
        resize(each.dataset.size);
      });
    });
    resize(root.dataset.form);
    find(".anew").addEventListener("click", () => {
      ask({ kind: "preset", mode, values: {} }, "The form is as it was at first.");
    });
    find("button.share").addEventListener("click", () => ask({ mode, turn: Date.now() }, "", "submit"));
    presets(find(".presets"), mode);
    const ideas = find(".ideas");
    if (ideas) there(() => {
      const chips = hubs.props.ideas.map((name, number) => {
        return button(name, () => ask({ kind: "example", number }, `“${name}” is in the form.`));
      });
      const idea = button("Random idea", () => ask({ kind: "idea" }, "An idea is in the form."), { className: "idea" });
      ideas.replaceChildren(idea, ...chips);
    });
  }

  // ---- presets

  function presets(fold, mode) {
    const panel = fold.querySelector(".panel");
    const all = () => load(PRESETS, {});
    const own = () => all()[mode] ?? [];
    let said = "";

    const put = (list, words = "") => {
      const hasFocus = panel.contains(document.activeElement);
      said = store(PRESETS, { ...all(), [mode]: list }) ? words : "This browser keeps no more.";
      draw();
      if (hasFocus) fold.querySelector("summary").focus(); // what had it is gone
    };

    async function save(name) {
      await collect();
      const preset = { name, values: differing(mode, false) };
      const list = own();
      const at = list.findIndex((each) => each.name === name);
      if (at < 0) put([...list, preset], "Saved");
      else put(list.with?.(at, preset) ?? [...list.slice(0, at), preset, ...list.slice(at + 1)], "Saved anew");
    }

    function field(label, value, act) {
      const form = document.createElement("form");
      const input = Object.assign(document.createElement("input"), { type: "text", value, maxLength: 60, ariaLabel: label });
      input.placeholder = label;
      form.append(input, Object.assign(document.createElement("button"), { textContent: "Save" }));
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const name = input.value.trim();
        if (name) act(name);
      });
      return form;
    }

    function row(preset, at) {
      const line = document.createElement("li");
      const rename = () => {
        const form = field("New name", preset.name, (name) => {
          const others = own().filter((each, i) => i === at || each.name !== name);
          put(others.map((each) => (each.name === preset.name ? { ...each, name } : each)));
        });
        line.replaceChildren(form);
        form.querySelector("input").select();
      };
      const remove = () => put(own().filter((_, i) => i !== at), "");
      const apply = () => {
        fold.open = false;
        ask({ kind: "preset", mode, values: preset.values }, `“${preset.name}” is in the form.`);
      };
      line.append(
        button(preset.name, apply, { className: "apply" }),
        button("Rename", rename, { ariaLabel: `Rename ${preset.name}` }),
        button("Delete", () => {
          remove();
          const back = button("Undo", () => put(own().toSpliced?.(at, 0, preset) ?? [...own(), preset]));
          panel.querySelector("[role=status]").replaceChildren(`Deleted “${preset.name}”. `, back);
          back.focus();
        }, { ariaLabel: `Delete ${preset.name}` }),
      );
      return line;
    }

    function draw() {
      const list = document.createElement("ul");
      list.append(...own().map(row));
      const note = Object.assign(document.createElement("p"), { role: "status", textContent: said });
      if (!said && !own().length) note.textContent = "What the form holds, kept in this browser under a name.";
      panel.replaceChildren(list, field("Name of a new preset", "", save), note);
    }

    fold.addEventListener("toggle", () => {
      said = "";
      if (fold.open) draw();
    });
    fold.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !fold.open) return;
      event.preventDefault(); // which would cancel the job
      fold.open = false;
      fold.querySelector("summary").focus();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (fold.open && !fold.contains(target)) fold.open = false;
    });
  }

  // ---- the button under a song

  /** Makes a link of the song that is shown; it goes when another one comes. */
  function share(element, props, trigger, watch) {
    const show = () => {
      if (props.value) showLink(element, props.value);
      else element.querySelector(".link").hidden = true;
    };
    element.querySelector("button").addEventListener("click", () => (props.value ? show() : trigger("release")));
    watch("value", show);
  }

  Object.assign(window.studio, { hub, bar, collect, told, touched, recall, started, full, share });
})();
