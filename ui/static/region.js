// The marked stretch of a recording: its edges and the whole are dragged by mouse and touch or moved by keys, and it
// can be heard.
(() => {
  "use strict";

  const SHORTEST_S = 0.1;
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

  /** [start, end] after a part of a stretch was moved by so many seconds. */
  function moved(part, [start, end], by, length) {
    if (part === "start") return [round(clamp(start + by, 0, end - SHORTEST_S)), end];
    if (part === "end") return [start, round(clamp(end + by, start + SHORTEST_S, length))];
    const shift = clamp(by, -start, length - end);
    return [round(start + shift), round(end + shift)];
  }

  function draw(canvas, song, start, end) {
    const ratio = window.devicePixelRatio || 1;
    const width = (canvas.width = canvas.clientWidth * ratio);
    const height = (canvas.height = canvas.clientHeight * ratio);
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    pen.clearRect(0, 0, width, height);
    const x = (seconds) => (seconds / song.length) * width;
    pen.fillStyle = style.getPropertyValue("--region");
    pen.fillRect(x(start), 0, x(end) - x(start), height);
    const loudest = Math.max(...song.peaks, 1e-3);
    song.peaks.forEach((peak, i) => {
      const left = (i / song.peaks.length) * width;
      const inside = left >= x(start) && left < x(end);
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

  /** A waveform with a marked stretch: value is {url, start, end}; a change of either end triggers `release`. */
  function region(element, props, trigger, watch) {
    const part = (name) => element.querySelector(name);
    const [box, canvas, whole, playhead] = [".region", "canvas", ".whole", ".playhead"].map(part);
    const edges = { start: part(".edge.start"), end: part(".edge.end") };
    const button = part(".hear");
    const sound = new Audio();
    let song; // null where the file cannot be read
    let loaded = null;
    let shown = {};
    let isTyped = false; // whether the numbers were set before there was a recording
    let drag = null;
    let own = [NaN, NaN]; // what was marked here of itself, which nobody has asked for

    const stretch = () => [props.value.start, props.value.end];
    const set = ([start, end]) => {
      props.value = { ...props.value, start, end };
      paint();
    };

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
      const [start, end] = stretch();
      part("[data-text]").textContent = `${clock(start)} – ${clock(end)} of ${clock(song.length)}`;
      const percent = (seconds) => `${clamp(100 * (seconds / song.length), 0, 100)}%`;
      Object.assign(whole.style, { left: percent(start), width: percent(Math.min(end, song.length) - start) });
      edges.start.style.left = percent(start);
      edges.end.style.left = percent(end);
      aria(edges.start, [start, 0, round(end - SHORTEST_S)], clock(start));
      aria(edges.end, [end, round(start + SHORTEST_S), round(song.length)], clock(end));
      aria(whole, [start, 0, round(Math.max(0, song.length - (end - start)))], `${clock(start)} to ${clock(end)}`);
      ruler(element, song);
      draw(canvas, song, start, end);
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
      set(own);
      trigger("release");
    }

    async function show() {
      const { url = null, start, end } = props.value ?? {};
      const isOwn = start === own[0] && end === own[1];
      const isNew = !isOwn && (start !== shown.start || end !== shown.end);
      const isGiven = isRecalled || (shown.start !== undefined && isNew);
      if (!url && props.value) isTyped ||= isNew;
      shown = { url, start, end };
      if (url !== loaded) await load(url, isGiven);
      paint();
    }

    // ---- by hand

    const at = ({ clientX }) => {
      const { left, width } = canvas.getBoundingClientRect();
      return clamp((clientX - left) / width, 0, 1) * song.length;
    };
    const grip = (target) => {
      if (target === edges.start) return "start";
      if (target === edges.end) return "end";
      const [start, end] = stretch();
      return target === whole && end - start < song.length - SHORTEST_S ? "whole" : "new"; // all of a song cannot move
    };

    addEventListener("look", paint);
    part(".stage").addEventListener("pointerdown", (event) => {
      if (!song || event.button) return;
      event.currentTarget.setPointerCapture(event.pointerId);
      drag = { part: grip(event.target), x: event.clientX, from: at(event), stretch: stretch(), isMoving: false };
    });
    part(".stage").addEventListener("pointermove", (event) => {
      if (!drag) return;
      drag.isMoving ||= Math.abs(event.clientX - drag.x) >= DRAG_PX;
      if (!drag.isMoving) return;
      const [from, to] = [drag.from, at(event)];
      const low = Math.min(from, to, song.length - SHORTEST_S);
      const anew = [round(low), round(Math.max(from, to, low + SHORTEST_S))];
      set(drag.part === "new" ? anew : moved(drag.part, drag.stretch, to - from, song.length));
    });
    part(".stage").addEventListener("pointerup", () => {
      const { isMoving } = drag ?? {};
      drag = null;
      if (isMoving) trigger("release");
    });
    part(".stage").addEventListener("pointercancel", () => {
      if (drag?.isMoving) set(drag.stretch); // the finger scrolls the page
      drag = null;
    });

    part(".stage").addEventListener("keydown", (event) => {
      const ends = { Home: -EVERYTHING, End: EVERYTHING };
      const by = (KEYS[event.key] ?? ends[event.key]) * (event.shiftKey ? 10 : 1);
      if (!song || !by) return;
      event.preventDefault();
      set(moved(grip(event.target), stretch(), by, song.length));
      trigger("release");
    });

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
