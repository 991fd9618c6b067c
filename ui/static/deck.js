// Several recordings played in step, on one clock: what is heard is a matter of levels, so that nothing has to start
// again and neither place nor beat is lost.
(() => {
  "use strict";

  const { clock, peaksOf, alone } = window.studio;
  const RATE = 48_000; // of every file that the studio writes: nothing is resampled
  const FADE_S = 0.0015; // the time constant of every change of a level: within 5 ms it is all but there, without a click
  const GONE_S = 0.03; // after so many nothing is left of a sound that fades
  const SOON_S = 0.02; // sources begin a moment after they are told to: all on one sample
  const IDLE_MS = 500;
  const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  const EVERYTHING = 1e6; // a step past either end

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const onSample = (seconds) => Math.round(seconds * RATE) / RATE;

  /** The sound of some lanes, {buffer, gain_db, offset_s} each, from a place on: `hear` says which of them are heard.
      An offset is where a lane begins; a lane without a buffer is silent. */
  class Mix {
    constructor(context, lanes) {
      this.context = context;
      this.out = new GainNode(context, { gain: 0 });
      this.out.connect(context.destination);
      this.lanes = lanes.map(({ buffer, gain_db = 0, offset_s = 0 }) => {
        const level = new GainNode(context, { gain: 0 });
        level.connect(this.out);
        const source = buffer && new AudioBufferSourceNode(context, { buffer });
        source?.connect(level);
        return { source, level: level.gain, loudness: 10 ** (gain_db / 20), offset_s };
      });
    }

    /** Begins at a time of the context and a place of the song, with those lanes heard. */
    start(when, place, heard) {
      const [begin, from] = [onSample(when), onSample(place)];
      this.lanes.forEach(({ source, level, loudness, offset_s }, i) => {
        level.value = heard[i] ? loudness : 0;
        const late = onSample(offset_s) - from;
        if (source && -late < source.buffer.duration) source.start(begin + Math.max(0, late), Math.max(0, -late));
      });
      this.out.gain.setTargetAtTime(1, begin, FADE_S);
    }

    /** Lets those lanes be heard from that time on. */
    hear(heard, when = this.context.currentTime) {
      this.lanes.forEach(({ level, loudness }, i) => level.setTargetAtTime(heard[i] ? loudness : 0, when, FADE_S));
    }

    /** Fades out, and lets go of everything. */
    stop() {
      const now = this.context.currentTime;
      this.out.gain.cancelScheduledValues(now);
      this.out.gain.setTargetAtTime(0, now, FADE_S);
      this.lanes.forEach(({ source }) => {
        try {
          source?.stop(now + GONE_S);
        } catch {
          // it never began: the place lay beyond its end
        }
      });
      setTimeout(() => this.out.disconnect(), 1000 * (GONE_S + SOON_S) + IDLE_MS);
    }
  }

  let shared = null;
  const sounding = new Set();

  /** The page's one context. */
  const context = () => (shared ??= new AudioContext({ sampleRate: RATE }));

  /** Lets the sound card rest when nothing is to be heard. */
  function rest() {
    setTimeout(() => !sounding.size && shared?.state === "running" && shared.suspend(), IDLE_MS);
  }

  async function decoded(url) {
    const bytes = await (await fetch(url)).arrayBuffer();
    return context().decodeAudioData(bytes);
  }

  /** A player of lanes, {url, gain_db, offset_s, seconds} each. They are decoded when they are first played, and let go
      when others are loaded. `changed` is called whenever what it tells is different: place, state, what is heard. */
  class Deck {
    state = "still"; // or loading, or sounding
    lanes = [];
    heard = [];
    #changed;
    #buffers = null;
    #mix = null;
    #place = 0;
    #began = 0;
    #turn = 0;

    constructor(changed) {
      this.#changed = changed;
      this.pause = this.pause.bind(this);
    }

    load(lanes) {
      this.pause();
      this.lanes = lanes;
      this.heard = lanes.map(() => true);
      this.#buffers = null;
      this.#place = 0;
      this.#changed();
    }

    get length() {
      return Math.max(0, ...this.lanes.map(({ offset_s = 0, seconds }) => offset_s + seconds));
    }

    get place() {
      if (this.state !== "sounding") return this.#place;
      return clamp(this.#place + context().currentTime - this.#began, 0, this.length);
    }

    hear(heard) {
      this.heard = heard;
      this.#mix?.hear(heard);
      this.#changed();
    }

    async play() {
      if (this.state !== "still") return;
      alone(this.pause);
      this.state = "loading";
      const turn = ++this.#turn;
      sounding.add(this);
      this.#changed();
      this.#buffers ??= Promise.all(this.lanes.map(({ url }) => decoded(url).catch(() => null)));
      const [buffers] = await Promise.all([this.#buffers, context().resume()]);
      if (turn !== this.#turn) return;
      this.lanes.forEach((lane, i) => (lane.isBroken = !buffers[i]));
      if (this.#place >= this.length - 0.01) this.#place = 0;
      this.state = "sounding";
      this.#begin(buffers);
      this.#follow(turn);
    }

    #begin(buffers) {
      this.#mix = new Mix(context(), this.lanes.map((lane, i) => ({ ...lane, buffer: buffers[i] })));
      this.#began = context().currentTime + SOON_S;
      this.#mix.start(this.#began, this.#place, this.heard);
    }

    #follow(turn) {
      if (turn !== this.#turn) return;
      if (this.place >= this.length) {
        this.pause();
        return this.seek(0);
      }
      this.#changed();
      requestAnimationFrame(() => this.#follow(turn));
    }

    pause() {
      if (this.state === "still") return;
      this.#place = this.place;
      this.state = "still";
      this.#turn += 1;
      this.#mix?.stop();
      this.#mix = null;
      sounding.delete(this);
      rest();
      this.#changed();
    }

    async seek(place) {
      this.#place = clamp(place, 0, this.length);
      if (this.state === "sounding") {
        this.#began = context().currentTime + SOON_S; // until it begins it stands where it will
        const [turn, buffers] = [this.#turn, await this.#buffers];
        if (turn === this.#turn) {
          this.#mix.stop();
          this.#begin(buffers);
        }
      }
      this.#changed();
    }
  }

  /** A new element with a class, and what is told about it. */
  function made(tag, className, facts = {}) {
    return Object.assign(document.createElement(tag), { className, ...facts });
  }

  function button(className, words, press) {
    const each = made("button", className, { type: "button", textContent: words });
    each.addEventListener("click", press);
    return each;
  }

  const SVG = "http://www.w3.org/2000/svg";

  /** A drawing of peaks, in the colour of its text. */
  function drawing(peaks, scale) {
    const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS(SVG, tag));
    svg.setAttribute("viewBox", `0 0 ${peaks.length} 100`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const bar = (peak, i) => {
      const half = clamp(scale * peak, 0.012, 1) * 46;
      return `M${i} ${(50 - half).toFixed(2)}h.6v${(2 * half).toFixed(2)}h-.6z`;
    };
    path.setAttribute("d", Array.from(peaks, bar).join(""));
    svg.append(path);
    return svg;
  }

  /** The waveforms of lanes, all on one scale; a lane that cannot be read stays a line. */
  async function drawWaves(lanes, waves, isCurrent) {
    const read = (lane) => (lane.peaks ??= peaksOf(lane.url).catch(() => ({ peaks: new Float32Array(1) })));
    const songs = await Promise.all(lanes.map(read));
    if (!isCurrent()) return;
    const volume = lanes.map(({ gain_db = 0 }) => 10 ** (gain_db / 20));
    const loudest = Math.max(1e-3, ...songs.map(({ peaks }, i) => volume[i] * Math.max(...peaks)));
    songs.forEach(({ peaks }, i) => {
      for (const layer of waves[i].querySelectorAll(".layer")) {
        layer.replaceChildren(drawing(peaks, volume[i] / loudest));
      }
    });
  }

  /** One lane's waveform: quiet, and bright where it was played; {windows} mark what is new in it. */
  function wave(lane, length) {
    const box = made("div", "wave");
    const percent = (seconds) => `${clamp((100 * seconds) / length, 0, 100)}%`;
    const { offset_s = 0, seconds, windows = [] } = lane;
    for (const [start, end] of windows) {
      const mark = made("i", "fresh");
      Object.assign(mark.style, { left: percent(start), width: percent(end - start) });
      box.append(mark);
    }
    for (const kind of ["layer", "layer played"]) {
      const layer = made("div", kind);
      layer.style.setProperty("--left", percent(offset_s));
      layer.style.setProperty("--width", percent(seconds));
      box.append(layer);
    }
    box.append(made("i", "playhead"));
    return box;
  }

  const nothing = () => [];

  /** Shows a deck in `host`: play, place, and a row for each lane with `tools(lane, i)` beside its name and `foot` under
      it; `order` is that of the rows, `extras` stand beside the time. Returns what repaints it, and builds it anew when
      it is told to. */
  function board(host, deck, { name, tools = nothing, foot = nothing, extras = [], order, label }) {
    const play = button("play", "", () => (deck.state === "still" ? deck.play() : deck.pause()));
    const seek = made("span", "seek", { role: "slider", tabIndex: 0, ariaLabel: `Position in ${name}` });
    const time = made("span", "time");
    const transport = made("div", "transport");
    transport.append(play, seek, time, ...extras);
    let rows = [];
    let lanes = null;
    let dragged = null; // where a pointer holds the playhead

    function follow(area) {
      const at = ({ clientX }) => {
        const { left, width } = area.getBoundingClientRect();
        return clamp((clientX - left) / width, 0, 1) * deck.length;
      };
      area.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        area.setPointerCapture(event.pointerId);
        dragged = at(event);
        paint();
      });
      area.addEventListener("pointermove", (event) => {
        if (dragged === null) return;
        dragged = at(event);
        paint();
      });
      area.addEventListener("pointerup", () => {
        if (dragged !== null) deck.seek(dragged);
        dragged = null;
      });
      area.addEventListener("pointercancel", () => {
        dragged = null; // the finger scrolls the page
        paint();
      });
    }

    seek.addEventListener("keydown", (event) => {
      const by = { ...KEYS, Home: -EVERYTHING, End: EVERYTHING }[event.key];
      if (!by) return;
      event.preventDefault();
      deck.seek(deck.place + by);
    });
    follow(seek);

    function row(lane, i) {
      const words = label?.(lane, i) ?? lane.label;
      const box = made("div", "lane", { role: "group", ariaLabel: words });
      const head = made("div", "head");
      head.append(made("span", "name", { textContent: words, title: words }), ...tools(lane, i));
      const drawn = wave(lane, deck.length);
      follow(drawn);
      box.append(head, drawn);
      const below = foot(lane, i);
      if (below.length) {
        const line = made("div", "foot");
        line.append(...below);
        box.append(line);
      }
      return box;
    }

    function build() {
      lanes = deck.lanes;
      rows = lanes.map(row);
      const all = made("div", "lanes");
      all.append(...(order?.() ?? [...rows.keys()]).map((i) => rows[i]));
      host.replaceChildren(...(lanes.length ? [transport, all] : []));
      const current = lanes;
      if (lanes.length) drawWaves(lanes, rows, () => current === lanes);
    }

    function paint(isAnew = false) {
      if (deck.state === "sounding" && !host.isConnected) return deck.pause(); // Gradio took its column away
      if (isAnew || lanes !== deck.lanes) build();
      const place = dragged ?? deck.place;
      host.style.setProperty("--at", `${deck.length ? (100 * place) / deck.length : 0}%`);
      play.ariaLabel = deck.state === "still" ? `Play ${name}` : `Pause ${name}`;
      play.classList.toggle("playing", deck.state !== "still");
      play.ariaBusy = deck.state === "loading";
      const told = `${clock(place)} / ${clock(deck.length)}`;
      if (time.textContent !== told) time.textContent = told;
      const [now, end] = [place, deck.length].map((seconds) => String(Math.round(seconds)));
      if (seek.ariaValueNow !== now) {
        Object.assign(seek, { ariaValueMin: "0", ariaValueMax: end, ariaValueNow: now, ariaValueText: clock(place) });
      }
      rows.forEach((each, i) => {
        each.classList.toggle("unheard", !deck.heard[i]);
        each.classList.toggle("broken", Boolean(deck.lanes[i].isBroken));
      });
    }

    return paint;
  }

  /** Whether a value shows other recordings than before: one that is sent again goes on as it is. */
  function changes() {
    let before = null;
    return (value) => {
      const now = JSON.stringify(value ?? null);
      const isNew = now !== before;
      before = now;
      return isNew;
    };
  }

  Object.assign(window.studio, { Deck, board, made, button, changes });
})();
