// The song that is shown, as it sounds: what is new in it is marked on its waveform, and its words follow the music.
(() => {
  "use strict";

  const { clock, made, player } = window.studio;

  /** The value is {seconds, windows, rows, told}; a row is [text, whether it is a tag, start, end], without times where
      nobody knows them. */
  function listen(element, props, watch) {
    const host = element.querySelector(".listen");
    let marks = [];
    const legend = made("p", "legend");
    const told = made("p", "told");
    const box = made("div", "words", { role: "group", ariaLabel: "Words" });
    host.append(legend, told, box);
    let lines = []; // {at, start, end} of what can be heard, in order
    let current = -1;
    let letGo = () => {};

    // ---- what is new

    /** Lays the marks over the parts of the player's waveform that are new. */
    function place() {
      const wave = player.wave();
      for (const each of marks) each.hidden = !wave?.clientWidth;
      if (!marks.length || marks[0].hidden) return;
      const [home, there] = [host, wave].map((each) => each.getBoundingClientRect());
      const x = (seconds) => (seconds / props.value.seconds) * there.width;
      props.value.windows.forEach(([start, end], i) => {
        Object.assign(marks[i].style, {
          left: `${there.left - home.left + x(start)}px`,
          top: `${there.top - home.top}px`,
          width: `${x(end - start)}px`,
          height: `${there.height}px`,
        });
      });
    }

    // ---- the words

    function row([text, isTag, start, end], i) {
      const each = made(start === null ? "p" : "button", isTag ? "tag" : "line", { textContent: text });
      if (start === null) return each;
      Object.assign(each, { type: "button", tabIndex: lines.length ? -1 : 0 });
      each.addEventListener("click", () => player.seek(start));
      each.addEventListener("focus", () => rove(each));
      lines.push({ each, start, end: end ?? Infinity });
      return each;
    }

    function rove(to) {
      lines.forEach(({ each }) => (each.tabIndex = each === to ? 0 : -1));
    }

    box.addEventListener("keydown", (event) => {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const next = by && lines[lines.findIndex(({ each }) => each === document.activeElement) + by];
      if (!by) return;
      event.preventDefault();
      next?.each.focus({ preventScroll: true });
      if (next) scroll(next.each);
    });

    /** Brings a line into the middle of its own box; the page stays where it is. */
    function scroll(each) {
      box.scrollTop = each.offsetTop - box.offsetTop - (box.clientHeight - each.offsetHeight) / 2;
    }

    function follow() {
      if (!element.isConnected) return letGo();
      const now = player.place() + 0.01; // a line that was clicked is the one that sounds
      const isHeard = player.isPlaying() || now > 0.02;
      const found = isHeard ? lines.findLastIndex(({ start, end }) => start <= now && now < end) : -1;
      if (found === current) return;
      lines[current]?.each.removeAttribute("aria-current");
      current = found;
      if (found < 0) return;
      lines[found].each.ariaCurrent = "true";
      if (!box.contains(document.activeElement)) {
        rove(lines[found].each);
        scroll(lines[found].each);
      }
    }

    function show() {
      const { windows = [], rows = [], told: words = "" } = props.value ?? {};
      [lines, current] = [[], -1];
      marks.forEach((each) => each.remove());
      marks = windows.map(() => made("i", "fresh", { hidden: true }));
      host.prepend(...marks);
      const spans = windows.map(([start, end]) => `${clock(start)} – ${clock(end)}`);
      legend.textContent = spans.length ? `New: ${spans.join(", ")} · the rest is the source` : "";
      told.textContent = words;
      box.replaceChildren(...rows.map(row));
      box.scrollTop = 0;
      box.tabIndex = lines.length ? -1 : 0; // scrolled by keys where no line takes the focus
      box.hidden = !rows.length;
      for (const each of [legend, told]) each.hidden = !each.textContent;
      letGo();
      requestAnimationFrame(() => {
        letGo = player.follow(follow); // the player beside it is made in the same turn
        place();
        sizes.disconnect();
        [element, player.whole(), player.wave()].forEach((each) => each && sizes.observe(each));
      });
    }

    const sizes = new ResizeObserver(place);
    watch("value", show);
    show();
  }

  Object.assign(window.studio, { listen });
})();
