// The models panel: every checkpoint in a row of its own, which stays while what it says changes.
(() => {
  "use strict";

  const AGAIN_MS = 1000; // a stream that has ended is begun again while anything goes on

  function make(tag, className = "", words = "") {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = words;
    return element;
  }

  function say(element, words) {
    if (element.textContent !== words) element.textContent = words;
    element.hidden = !words;
  }

  /** The row of a checkpoint; `act(what, consent)` does what its buttons say. */
  function row(name, act) {
    const element = make("article", "weights");
    element.id = `weights-${name}`;
    const [title, facts, source] = [make("h4"), make("p", "facts"), make("p", "facts")];
    const [state, bar, said, ways] = [make("span", "state"), make("div", "bar"), make("p", "said"), make("div", "ways")];
    title.append(make("span"), state);
    said.role = "status";
    Object.assign(bar, { role: "progressbar", ariaLabel: `How far ${name} is`, ariaValueMin: 0, ariaValueMax: 100 });
    element.append(title, facts, source, bar, said, ways);
    let shown = "";

    /** A question in the place of the buttons: what it would take away is named before it goes. */
    function ask({ what, words, asks }) {
      const yes = make("button", "", words);
      const no = make("button", "", "Keep it");
      yes.addEventListener("click", () => act(what, true));
      no.addEventListener("click", () => offer(JSON.parse(shown)));
      ways.replaceChildren(make("p", "asks", asks), yes, no);
      no.focus();
    }

    function offer(can) {
      const hadFocus = ways.contains(document.activeElement);
      ways.replaceChildren(...can.map((way) => {
        const button = make("button", way.terms ? "main" : "", way.words);
        if (way.terms) button.append(make("small", "", way.terms));
        // The button of a download names size, licence and source: whoever presses it agrees to them.
        button.addEventListener("click", () => (way.asks ? ask(way) : act(way.what, Boolean(way.terms))));
        return button;
      }));
      if (hadFocus) ways.querySelector("button")?.focus({ preventScroll: true });
    }

    function paint(facts_, refusal) {
      const { task } = facts_;
      say(title.firstChild, facts_.title);
      say(state, facts_.state);
      element.classList.toggle("here", facts_.installed);
      say(facts, facts_.facts);
      say(source, facts_.source);
      bar.hidden = !task?.running;
      bar.style.setProperty("--done", task?.done ?? 0);
      bar.ariaValueNow = String(Math.round(100 * (task?.done ?? 0)));
      // While it runs nobody is read a number twice a second.
      said.ariaLive = task?.running ? "off" : "polite";
      say(said, refusal ?? task?.says ?? "");
      said.classList.toggle("failed", Boolean(refusal ?? task?.failed));
      const can = JSON.stringify(facts_.can);
      if (can !== shown) offer(facts_.can);
      shown = can;
    }

    return { element, paint };
  }

  let installed = null; // what was here when it was shown last
  let wanted = null; // the checkpoint for which somebody was led here

  function models(element, props, trigger, watch) {
    const [heading, room, uses] = ["header", ".room", ".uses"].map((part) => element.querySelector(part));
    const rows = new Map();

    function built(name) {
      if (!rows.has(name)) rows.set(name, row(name, (what, consent) => trigger("apply", { what, name, consent })));
      return rows.get(name);
    }

    function lead() {
      const place = wanted && rows.get(wanted)?.element;
      if (!place) return;
      wanted = null;
      place.scrollIntoView({ block: "center" });
      (place.querySelector("button") ?? place).focus({ preventScroll: true });
    }

    let told = null;

    function show() {
      if (!props.value) return;
      told = JSON.parse(props.value);
      say(heading.children[0], told.title);
      say(heading.children[1], told.sentence);
      say(room, told.room);
      if (!uses.children.length) {
        uses.append(...told.uses.map((use) => {
          const section = make("section");
          section.append(make("h3", "", use.title), make("p", "about", use.sentence));
          section.append(...use.rows.map((each) => built(each.name).element));
          return section;
        }));
      }
      const { name, says } = props.refused ?? {};
      told.uses.flatMap((use) => use.rows).forEach((each) => built(each.name).paint(each, each.name === name ? says : null));
      const now = JSON.stringify(told.uses.flatMap((use) => use.rows.map((each) => [each.name, each.state])));
      if (!told.busy && now !== installed) {
        if (installed) trigger("select");
        installed = now;
      }
      lead();
    }

    const look = () => {
      if (!element.isConnected) clearInterval(again);
      else if (told?.busy) trigger("focus");
    };
    const again = setInterval(look, AGAIN_MS);
    watch(["value", "refused"], () => {
      show();
      look();
    });
    show();
    // What nobody looks at need not be asked for.
    new IntersectionObserver(([panel]) => panel.isIntersecting && trigger("focus")).observe(element);
  }

  /** The way from a job that lacks weights to where they are brought. */
  function missing(element, props, watch) {
    const way = element.querySelector(".missing");
    const line = element.querySelector("[data-text]");
    const show = () => (way.hidden = !props.missing?.name || props.missing.line !== line.textContent);
    watch("missing", show);
    new MutationObserver(show).observe(line, { childList: true });
    way.addEventListener("click", () => {
      wanted = props.missing.name;
      const view = document.querySelector("#modes input[value=models]");
      view.click();
      view.closest("label").scrollIntoView({ block: "nearest", inline: "center" });
    });
  }

  Object.assign(window.studio, { models, missing });
})();
