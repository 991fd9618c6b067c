// The marked stretches of a recording: the edges and the whole of each are dragged by mouse and touch or moved by keys,
// more are added and deleted, and each can be heard.
(() => {
  "use strict";

  let [SHORTEST_S, APART_S, MOST] = [0, 0, 0]; // of a stretch, between two, and how many: the pane tells
  const DRAG_PX = 4; // a click moves less
  const KEYS = { ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1, PageDown: -1, PageUp: 1 };
  const EVERYTHING = 1e6; // a step past either end

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const round = (seconds) => Math.round(seconds * 100) / 100;

  const { clock, peaksOf, alone } = window.studio;

  /** What is worth making anew where nobody has said: the middle third, no longer than ten seconds. */
  function sensible(length) {
    const span = Math.min(length, clamp(Math.round(length / 0.3) / 10, 3, 10));
    const start = Math.round(5 * (length - span)) / 10;
    return [start, round(start + span)];
  }

  /** [start, end] after a part of a stretch was moved by so many seconds, within [low, high]. */
  function moved(part, [start, end], by, [low, high]) {
    if (part === "start") return [round(clamp(start + by, low, end - SHORTEST_S)), end];
    if (part === "end") return [start, round(clamp(end + by, start + SHORTEST_S, high))];
    const shift = clamp(by, Math.min(0, low - start), Math.max(0, high - end));
    return [round(start + shift), round(end + shift)];
  }

  /** Where the stretch at that place may lie: up to its neighbours, or to the ends of the song. */
  function room(marks, i, length) {
    const [start, end] = marks[i];
    const others = marks.filter((_, each) => each !== i);
    const low = Math.max(0, ...others.filter(([from]) => from < start).map(([, to]) => to + APART_S));
    const high = Math.min(length, ...others.filter(([from]) => from > start).map(([from]) => from - APART_S));
    return [Math.min(low, start), Math.max(high, end)]; // what was typed may crowd its neighbours
  }

  /** A stretch in the middle of the widest gap between the others; null where none has room for it. */
  function another(marks, length) {
    const ordered = [...marks].sort(([a], [b]) => a - b);
    const starts = [0, ...ordered.map(([, to]) => to + APART_S)];
    const ends = [...ordered.map(([from]) => from - APART_S), length];
    const wide = (i) => ends[i] - starts[i];
    const widest = starts.map((_, i) => i).reduce((best, i) => (wide(i) > wide(best) ? i : best));
    if (wide(widest) < SHORTEST_S || marks.length >= MOST) return null;
    const [start, end] = sensible(wide(widest));
    return [round(starts[widest] + start), round(Math.min(starts[widest] + end, ends[widest]))];
  }

  const TIME = "(?:(\\d{1,3}):)?(\\d{1,4}(?:\\.\\d{1,3})?)";
  const SEGMENT = new RegExp(`^\\s*${TIME}\\s*[-–—]\\s*${TIME}\\s*$`);

  /** The stretches that a text names, as core/segments.py reads it; null where it cannot be read. */
  function named(text) {
    const parts = (text ?? "").split(/[,;\n]/).filter((part) => part.trim());
    const found = parts.map((part) => SEGMENT.exec(part));
    if (found.includes(null)) return null;
    const marks = found.map(([, m, s, n, t]) => [60 * (m ?? 0) + Number(s), 60 * (n ?? 0) + Number(t)]);
    return marks.every(([start, end]) => end > start) ? marks : null;
  }

  const text = (marks) => marks.map(([start, end]) => `${round(start)}-${round(end)}`).join(", ");

  function draw(canvas, song, marks) {
    const ratio = window.devicePixelRatio || 1;
    const width = (canvas.width = canvas.clientWidth * ratio);
    const height = (canvas.height = canvas.clientHeight * ratio);
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    pen.clearRect(0, 0, width, height);
    const x = (seconds) => (seconds / song.length) * width;
    pen.fillStyle = style.getPropertyValue("--region");
    for (const [start, end] of marks) pen.fillRect(x(start), 0, x(end) - x(start), height);
    const loudest = Math.max(...song.peaks, 1e-3);
    song.peaks.forEach((peak, i) => {
      const left = (i / song.peaks.length) * width;
      const inside = marks.some(([start, end]) => left >= x(start) && left < x(end));
      const tall = Math.max(ratio, (peak / loudest) * height * 0.84);
      pen.fillStyle = style.getPropertyValue(inside ? "--inside" : "--outside");
      pen.fillRect(left, (height - tall) / 2, Math.max(1, (width / song.peaks.length) * 0.6), tall);
    });
  }

  function ruler(element, song) {
    const marks = element.querySelectorAll(".ruler span");
    marks.forEach((mark, i) => (mark.textContent = clock((song.length * i) / (marks.length - 1))));
  }

  // Settings that come back with a song bring its stretch; whatever else brings a recording brings none.
  let isRecalled = false;
  for (const act of ["pointerdown", "keydown", "drop"]) {
    const look = ({ target }) => (isRecalled = Boolean(target.closest?.("#history, #library, .recalled")));
    document.addEventListener(act, look, true);
  }

  /** The handles of a stretch: its whole and its edges. The first one's are called by what they are. */
  function handles(i) {
    const whose = i ? `stretch ${i + 1}` : "the stretch";
    const names = { whole: i ? `Stretch ${i + 1}` : "The whole stretch", start: `Start of ${whose}`, end: `End of ${whose}` };
    const make = ([part, name]) => {
      const handle = document.createElement("span");
      handle.className = part === "whole" ? part : `edge ${part}`;
      handle.tabIndex = 0;
      Object.assign(handle, { role: "slider", ariaLabel: name });
      Object.assign(handle.dataset, { part, mark: i });
      return [part, handle];
    };
    return Object.fromEntries(Object.entries(names).map(make));
  }

  /** A waveform with marked stretches: value is {url, start, end, more}, the first stretch and the text that names the
      others; a change of any triggers `release`. */
  function region(element, props, trigger, watch) {
    [SHORTEST_S, APART_S, MOST] = props.bounds;
    const part = (name) => element.querySelector(name);
    const [box, stage, canvas, playhead] = [".region", ".stage", "canvas", ".playhead"].map(part);
    const [button, add, remove] = [".hear", ".add", ".delete"].map(part);
    const sound = new Audio();
    let song; // null where the file cannot be read
    let loaded = null;
    let shown = {};
    let isTyped = false; // whether the fields were set before there was a recording
    let drag = null;
    let own = [NaN, NaN]; // what was marked here of itself, which nobody has asked for
    let held = []; // the handles of each stretch
    let current = 0; // the stretch that was touched last

    const marks = () => [[props.value.start, props.value.end], ...(named(props.value.more) ?? [])];
    const stretch = () => marks()[current] ?? marks()[0];
    const put = ([[start, end], ...others]) => {
      const more = others.length || named(props.value.more) ? text(others) : props.value.more; // unread, it stays
      props.value = { ...props.value, start, end, more };
      paint();
    };
    const set = (mark) => put(marks().map((each, i) => (i === current ? mark : each)));

    const aria = (handle, [now, low, high], text) => {
      Object.assign(handle, { ariaValueNow: now, ariaValueMin: low, ariaValueMax: high, ariaValueText: text });
    };

    function paint() {
      const { url } = props.value ?? {};
      box.hidden = !url;
      if (!url) return;
      box.classList.toggle("unreadable", song === null);
      const refusal = "This browser cannot draw the file; set the stretch by its numbers.";
      part("[data-text]").textContent = song === null ? refusal : "";
      if (!song) return;
      const all = marks();
      current = Math.min(current, all.length - 1);
      const which = all.length > 1 ? `${current + 1} of ${all.length}: ` : "";
      const [from, to] = stretch();
      part("[data-text]").textContent = `${which}${clock(from)} – ${clock(to)} of ${clock(song.length)}`;
      remove.disabled = all.length < 2;
      add.disabled = !another(all, song.length);
      hold(all);
      ruler(element, song);
      draw(canvas, song, all);
    }

    /** Lays the handles of every stretch over it. */
    function hold(all) {
      while (held.length > all.length) Object.values(held.pop()).forEach((each) => each.remove());
      while (held.length < all.length) {
        held.push(handles(held.length));
        playhead.before(...Object.values(held.at(-1)));
      }
      const percent = (seconds) => `${clamp(100 * (seconds / song.length), 0, 100)}%`;
      all.forEach(([start, end], i) => {
        const { whole, start: first, end: last } = held[i];
        const [low, high] = room(all, i, song.length).map(round);
        for (const each of Object.values(held[i])) each.toggleAttribute("data-current", all.length > 1 && i === current);
        Object.assign(whole.style, { left: percent(start), width: percent(Math.min(end, song.length) - start) });
        first.style.left = percent(start);
        last.style.left = percent(end);
        aria(first, [start, low, round(end - SHORTEST_S)], clock(start));
        aria(last, [end, round(start + SHORTEST_S), high], clock(end));
        aria(whole, [start, low, round(Math.max(low, high - (end - start)))], `${clock(start)} to ${clock(end)}`);
      });
    }

    async function load(url, isGiven) {
      hush();
      [loaded, song] = [url, undefined];
      const read = url ? await peaksOf(url).catch(() => null) : null;
      if (loaded !== url) return;
      song = read;
      const form = element.closest(".mode");
      if (form) form.toggleAttribute("data-marked", Boolean(song)); // one waveform is enough
      if (!song) return;
      const fits = isGiven || (isTyped && props.value.end <= song.length);
      isTyped = false;
      if (fits) return;
      own = sensible(song.length);
      current = 0;
      props.value = { ...props.value, more: "" };
      put([own]);
      trigger("release");
    }

    async function show() {
      const { url = null, start, end, more } = props.value ?? {};
      const isOwn = start === own[0] && end === own[1] && !more;
      const isNew = !isOwn && (start !== shown.start || end !== shown.end || (more ?? "") !== (shown.more ?? ""));
      const isGiven = isRecalled || (shown.start !== undefined && isNew);
      if (!url && props.value) isTyped ||= isNew;
      shown = { url, start, end, more };
      if (url !== loaded) await load(url, isGiven);
      paint();
    }

    // ---- by hand

    const at = ({ clientX }) => {
      const { left, width } = canvas.getBoundingClientRect();
      return clamp((clientX - left) / width, 0, 1) * song.length;
    };
    /** What a handle holds: a part of its stretch, which is the current one from now on; elsewhere, one to be drawn. */
    const grip = ({ dataset }) => {
      if (!dataset.part) return "new";
      touch(Number(dataset.mark));
      const [start, end] = stretch();
      return dataset.part === "whole" && end - start >= song.length - SHORTEST_S ? "new" : dataset.part;
    };

    function touch(i) {
      if (current === i) return;
      if (!sound.paused) hush();
      current = i;
      paint();
    }

    addEventListener("look", paint);
    stage.addEventListener("pointerdown", (event) => {
      if (!song || event.button) return;
      stage.setPointerCapture(event.pointerId);
      const grasped = grip(event.target);
      drag = { part: grasped, x: event.clientX, from: at(event), marks: marks(), isMoving: false };
    });
    stage.addEventListener("pointermove", (event) => {
      if (!drag) return;
      drag.isMoving ||= Math.abs(event.clientX - drag.x) >= DRAG_PX;
      if (!drag.isMoving) return;
      const [from, to] = [drag.from, at(event)];
      set(drag.part === "new" ? drawn(from, to) : moved(drag.part, drag.marks[current], to - from, free(drag.marks)));
    });
    stage.addEventListener("pointerup", () => {
      const { isMoving } = drag ?? {};
      drag = null;
      if (isMoving) trigger("release");
    });
    stage.addEventListener("pointercancel", () => {
      if (drag?.isMoving) put(drag.marks); // the finger scrolls the page
      drag = null;
    });

    const free = (all) => room(all, current, song.length);

    /** The current stretch drawn anew, within the gap between the others in which the drag began. */
    function drawn(from, to) {
      const all = drag.marks.map((each, i) => (i === current ? [from, from] : each));
      const [low, high] = free(all);
      const start = clamp(Math.min(from, to), low, Math.max(low, high - SHORTEST_S));
      return [round(start), round(clamp(Math.max(from, to), start + SHORTEST_S, Math.max(high, start + SHORTEST_S)))];
    }

    stage.addEventListener("focusin", ({ target }) => target.dataset.mark && touch(Number(target.dataset.mark)));
    stage.addEventListener("keydown", (event) => {
      if (!song) return;
      if (event.key === "Delete" || event.key === "Backspace") {
        event.preventDefault();
        return drop();
      }
      const ends = { Home: -EVERYTHING, End: EVERYTHING };
      const by = (KEYS[event.key] ?? ends[event.key]) * (event.shiftKey ? 10 : 1);
      const { part: grasped } = event.target.dataset;
      if (!by || !grasped) return;
      event.preventDefault();
      set(moved(grasped, stretch(), by, free(marks())));
      trigger("release");
    });

    add.addEventListener("click", () => {
      const [all, more] = [marks(), another(marks(), song.length)];
      if (!more) return;
      current = all.length;
      put([...all, more]);
      held[current].whole.focus({ preventScroll: true });
      trigger("release");
    });
    remove.addEventListener("click", drop);

    /** Takes the current stretch away; one always stays. */
    function drop() {
      const all = marks();
      if (all.length < 2) return;
      hush();
      const rest = all.filter((_, i) => i !== current);
      current = Math.min(current, rest.length - 1);
      put(rest);
      held[current].whole.focus({ preventScroll: true });
      trigger("release");
    }

    // ---- by ear

    function hush() {
      sound.pause();
      playhead.hidden = true;
      button.textContent = "Play the stretch";
    }

    function follow() {
      if (sound.paused) return;
      if (sound.ended || sound.currentTime >= stretch()[1]) return hush();
      playhead.style.left = `${(100 * sound.currentTime) / song.length}%`;
      requestAnimationFrame(follow);
    }

    button.addEventListener("click", async () => {
      if (!sound.paused) return hush();
      if (sound.src !== loaded) sound.src = loaded;
      sound.currentTime = stretch()[0];
      button.textContent = "Stop";
      alone(hush);
      await sound.play().catch(hush); // stopped before it began
      playhead.hidden = false;
      follow();
    });
    sound.addEventListener("ended", hush);

    new ResizeObserver(paint).observe(element);
    watch("value", show);
    show();
  }

  Object.assign(window.studio, { region });
})();
