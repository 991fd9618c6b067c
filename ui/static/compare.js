// Two songs side by side, or a song and its source: one is heard, the other goes along unheard, and a press changes
// over. Blind, nobody knows which is which until one is picked.
(() => {
  "use strict";

  const { Deck, board, button, changes, made, player } = window.studio;
  const LETTERS = ["A", "B"];
  const OPEN_ANOTHER = "Open the other song: a take, or one of the history or the library.";

  const kept = { slots: null, isSource: false }; // Gradio makes the tools anew when their column comes back into the page
  const picks = new Map(); // how often each was picked, by the two that stood to choose

  const isWriting = () => document.activeElement?.matches("textarea, select, input:not([type=radio], [type=checkbox])");

  /** A table of what differs, folded into a line that counts it. */
  function differencesTable(rows) {
    const fold = made("details", "differences");
    const words = rows.length === 1 ? "1 setting differs" : `${rows.length || "No"} settings differ`;
    fold.append(made("summary", "", { textContent: words }));
    const table = made("table", "");
    const line = (cells, tag) => {
      const row = made("tr", "");
      row.append(...cells.map((each) => made(tag, "", { textContent: each || "–" })));
      return row;
    };
    table.append(line(["Setting", ...LETTERS], "th"), ...rows.map((row) => line(row, "td")));
    fold.append(table);
    fold.hidden = !rows.length;
    return rows.length ? fold : made("p", "told", { textContent: words });
  }

  /** The tools that compare: the value is the song that is shown, {id, title, source}, and `pair` what Python made of
      the two that "select" asks for. */
  function compare(element, props, trigger, watch) {
    const host = element.querySelector(".compare");
    const isNewPair = changes();
    let slots = null; // the two songs, or [null, song] for one and its source; null while nothing is compared
    let isSource = false;
    let blind = null; // the order of the rows; null where the labels are seen
    let heard = 0;
    let repaint = () => {};
    const deck = new Deck(() => repaint());

    // ---- what stands there

    const open = button("", "Compare", () => begin([props.value, null]));
    const source = button("", "Hear the source", () => begin([null, props.value], true));
    const openers = made("div", "openers");
    openers.append(open, source);

    const panel = made("section", "panel", { ariaLabel: "Compare" });
    const heading = made("h3", "", { textContent: "Compare" });
    const swap = button("quiet", "Swap", () => ask([...slots].reverse()));
    const blindly = button("quiet", "Blind", () => (isHidden() ? see() : hide()));
    const close = button("quiet", "Close", end);
    const bar = made("header", "");
    bar.append(heading, swap, blindly, close);
    const stage = made("div", "deck");
    const told = made("p", "told", { role: "status" });
    const below = made("div", "below");
    panel.append(bar, stage, told, below);
    host.append(openers, panel);

    const change = button("change", "Switch · X", toggle);
    const hearing = [];

    const name = (i) => (isSource ? ["Source", "Result"][i] : LETTERS[i]);
    const isHidden = () => Boolean(blind);
    const label = (lane, i) => (isHidden() ? `Song ${blind.indexOf(i) + 1}` : `${name(i)} · ${lane.label}`);

    const tools = (lane, i) => {
      const each = button("toggle", "Hear", () => hear(i));
      each.ariaLabel = `Hear ${isHidden() ? label(lane, i) : name(i)}`;
      hearing[i] = each;
      if (isSource) return [each];
      if (isHidden()) {
        const better = button("", "Better", () => pick(i));
        better.ariaLabel = `${label(lane, i)} is better`;
        return [each, better];
      }
      const other = button("quiet", "Replace", () => replace(i));
      other.ariaLabel = `Replace ${name(i)}`;
      return [each, other];
    };
    const order = () => (blind ?? [0, 1]);
    const paint = board(stage, deck, { name: "what is compared", tools, label, order, extras: [change] });
    repaint = (isAnew) => {
      if (isAnew !== undefined && !deck.lanes.length) return;
      paint(isAnew);
      hearing.forEach((each, i) => (each.ariaPressed = String(i === heard)));
    };

    /** The two places before both songs are there, as high as they will be. */
    function empty() {
      const lanes = made("div", "lanes");
      slots.forEach((song, i) => {
        const lane = made("div", "lane empty");
        const words = `${name(i)} · ${song?.title ?? (isSource ? "" : OPEN_ANOTHER)}`;
        lane.append(made("div", "head", { textContent: words }), made("div", "wave"));
        lanes.append(lane);
      });
      stage.replaceChildren(made("div", "transport"), lanes);
    }

    function show() {
      openers.hidden = Boolean(slots);
      panel.hidden = !slots;
      source.hidden = !props.value?.source;
      if (!slots) return;
      panel.classList.toggle("blind", isHidden());
      heading.textContent = isSource ? "Source and result" : "Compare";
      const isWhole = deck.lanes.length > 0;
      [swap, blindly].forEach((each) => ((each.hidden = isSource), (each.disabled = !isWhole)));
      blindly.textContent = isHidden() ? "Reveal" : "Blind";
      if (isWhole) repaint(true);
      else empty();
    }

    // ---- which two

    function begin(songs, withSource = false) {
      isSource = withSource;
      heard = withSource ? 1 : 0;
      ask(songs);
    }

    function ask(songs) {
      [slots, blind] = [songs, null];
      Object.assign(kept, { slots, isSource });
      deck.load([]);
      below.replaceChildren();
      const isWhole = isSource || slots.every(Boolean);
      told.textContent = isWhole ? "listening how loud they are" : "";
      show();
      if (!isWhole || (isThere() && !props.pair.refusal)) return paired(); // what is told once more is not news
      trigger("select", { a: slots[0]?.id ?? "", b: slots[1].id });
    }

    /** Whether the two that stand there are those that were asked for last. */
    function isThere() {
      const { pair } = props;
      return Boolean(slots && pair && pair.of[0] === (slots[0]?.id ?? "") && pair.of[1] === slots[1]?.id);
    }

    function replace(i) {
      ask(slots.map((song, each) => (each === i ? null : song)));
    }

    function end() {
      slots = kept.slots = null;
      deck.load([]);
      show();
      open.focus();
    }

    /** A song is shown: it takes the free place, or its source that of the former one's. */
    function opened() {
      const song = props.value;
      if (slots && isSource && slots[1].id !== song?.id) slots = kept.slots = null;
      if (!slots) deck.load([]);
      const free = slots?.indexOf(null) ?? -1;
      if (song && !isSource && free >= 0 && slots.every((each) => each?.id !== song.id)) {
        return ask(slots.map((each, i) => (i === free ? song : each)));
      }
      show();
    }

    function paired() {
      const { pair } = props;
      if (!isThere() || !(isNewPair(pair) || !deck.lanes.length)) return;
      if (pair.refusal) {
        told.textContent = pair.refusal;
        return;
      }
      const place = player.place();
      deck.load(pair.lanes.map(({ sound, ...lane }) => ({ ...lane, url: sound.url })));
      deck.hear([0, 1].map((i) => i === heard));
      deck.seek(place);
      see();
    }

    /** What is told of two songs whose labels are seen: how they were levelled, and what differs. */
    function see() {
      blind = null;
      const turned = deck.lanes.findIndex(({ gain_db }) => gain_db < -0.05);
      const quieter = turned < 0 ? "" : `${name(turned)} is played ${(-deck.lanes[turned].gain_db).toFixed(1)} dB quieter: `;
      const isLevel = isSource && turned < 0 ? "played as they are" : `${quieter}both are equally loud`;
      told.textContent = isLevel;
      below.replaceChildren(...(isSource ? [] : [differencesTable(props.pair.differences)]));
      show();
    }

    // ---- by ear

    function hear(i) {
      heard = i;
      deck.hear([0, 1].map((each) => each === heard));
    }

    function toggle() {
      if (deck.lanes.length) hear(1 - heard);
    }

    function hide() {
      blind = Math.random() < 0.5 ? [0, 1] : [1, 0];
      heard = blind[0];
      told.textContent = "Which is better? Nobody knows which is which until you say so.";
      below.replaceChildren();
      show();
      hear(heard);
    }

    function pick(i) {
      const ids = slots.map(({ id }) => id);
      const key = [...ids].sort().join(" ");
      const counts = picks.get(key) ?? {};
      counts[ids[i]] = (counts[ids[i]] ?? 0) + 1;
      picks.set(key, counts);
      hear(i);
      see();
      const [a, b] = ids.map((id) => counts[id] ?? 0);
      told.textContent = `You picked ${LETTERS[i]}. Picked so far: A ${a}, B ${b}.`;
      blindly.textContent = "Blind again";
    }

    document.addEventListener("keydown", (event) => {
      const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
      if (event.key.toLowerCase() !== "x" || !isPlain || isWriting() || !slots || !element.isConnected) return;
      event.preventDefault();
      toggle();
    });

    watch("value", opened);
    watch("pair", paired);
    if (kept.slots) begin(kept.slots, kept.isSource);
    opened();
  }

  Object.assign(window.studio, { compare });
})();
