// What the page does without asking the server. Every text that a user wrote goes through textContent: templates of
// gr.HTML evaluate ${...} even inside {{...}}.
(() => {
  "use strict";

  const PEAKS_HZ = 8000; // decoding at this rate keeps an hour of stereo within the memory of a phone
  const MIN_REGION_S = 0.1;

  const clock = (seconds) => {
    const whole = Math.floor(seconds);
    const tenths = Math.floor((seconds - whole) * 10 + 1e-6);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}.${tenths}`;
  };

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

  /** The name by which the studio finds the jobs of this browser again: nobody can guess it. */
  function browser() {
    try {
      const made = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
      const name = localStorage.getItem(BROWSER) || made();
      localStorage.setItem(BROWSER, name);
      return name;
    } catch {
      return ""; // a browser that keeps nothing
    }
  }

  /** Turns the page busy for a job of its own, and names the browser. */
  function begin() {
    busy(true);
    return [browser()];
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

  /** Updates of a list of panes, each given by the modes in which it is seen. */
  function panes(mode, shownIn) {
    return shownIn.map((modes) => ({ __type__: "update", visible: modes.includes(mode) }));
  }

  /** [start, end] in seconds of a drag from a to b over a song of the given length, ends in either order. */
  function spanned(a, b, length) {
    const round = (seconds) => Math.round(seconds * 100) / 100;
    const from = Math.max(0, Math.min(a, b));
    const to = Math.min(length, Math.max(a, b, from + MIN_REGION_S));
    return [round(from), round(to)];
  }

  async function peaksOf(url, columns) {
    const bytes = await (await fetch(url)).arrayBuffer();
    const audio = await new OfflineAudioContext(1, 1, PEAKS_HZ).decodeAudioData(bytes);
    const samples = audio.getChannelData(0);
    const peaks = new Float32Array(columns);
    samples.forEach((value, i) => {
      const column = Math.min(columns - 1, Math.floor((i * columns) / samples.length));
      peaks[column] = Math.max(peaks[column], Math.abs(value));
    });
    return { peaks, length: audio.duration };
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

  /** A waveform with a marked stretch: value is {url, start, end}; a drag sets start and end and triggers `release`. */
  function region(element, props, trigger, watch) {
    let song = null;
    let loaded = null;
    let from = null;
    const canvas = () => element.querySelector("canvas");
    const at = (event) => {
      const box = canvas().getBoundingClientRect();
      return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * song.length;
    };
    const show = async () => {
      const { url, start, end } = props.value ?? {};
      element.querySelector(".region").hidden = !url;
      if (!url) return;
      if (url !== loaded) {
        loaded = url;
        song = null;
        song = await peaksOf(url, 240).catch(() => null);
      }
      element.querySelector(".region").classList.toggle("unreadable", !song);
      element.querySelector("[data-text]").textContent = song
        ? `${clock(start)} – ${clock(end)} of ${clock(song.length)}`
        : "This browser cannot draw the file; set the stretch by its numbers.";
      if (song) {
        ruler(element, song);
        draw(canvas(), song, start, end);
      }
    };
    const move = (event) => {
      const [start, end] = spanned(from, at(event), song.length);
      props.value = { ...props.value, start, end };
      show();
    };
    element.addEventListener("pointerdown", (event) => {
      if (!song || event.target !== canvas()) return;
      canvas().setPointerCapture(event.pointerId);
      from = at(event);
    });
    element.addEventListener("pointermove", (event) => from !== null && move(event));
    element.addEventListener("pointerup", (event) => {
      if (from === null) return;
      move(event);
      from = null;
      trigger("release");
    });
    new ResizeObserver(show).observe(element);
    watch("value", show);
    show();
  }

  // Gradio names each radio differently, and does so again after each change: every one is a tab stop and arrows do
  // nothing. One name for all, given before a key acts, makes the group one stop again, with arrows to move inside.
  const oneGroup = ({ target }) => {
    const group = target.type === "radio" && target.closest("fieldset");
    if (group) group.querySelectorAll("input[type=radio]").forEach((radio) => (radio.name = group.id));
  };
  document.addEventListener("focusin", oneGroup);
  document.addEventListener("keydown", oneGroup, true);

  window.studio = { ...window.studio, text, status, progress, begin, comeBack, cancelling, busy, panes, region };
})();
