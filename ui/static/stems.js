// What is made of a song: its stems, played in step, each muted or alone and sent to a mode that works on one; and
// files of it, each by the press of its format.
(() => {
  "use strict";

  const { Deck, board, button, changes, made } = window.studio;

  /** The stems of a song: value is {lanes}, each {name, label, sound, seconds}; "select" asks to send one to a mode. */
  function stems(element, props, trigger, watch) {
    const host = element.querySelector(".deck");
    const isNew = changes();
    const [muted, solo] = [new Set(), new Set()];
    let repaint = () => {};
    const deck = new Deck(() => repaint());

    const balance = () => {
      deck.hear(deck.lanes.map((_, i) => !muted.has(i) && (!solo.size || solo.has(i))));
    };
    const toggle = (words, set, label, i) => {
      const each = button("toggle", words, () => {
        set.has(i) ? set.delete(i) : set.add(i);
        each.ariaPressed = set.has(i);
        balance();
      });
      return Object.assign(each, { ariaLabel: `${words} ${label}`, ariaPressed: "false" });
    };
    const send = (words, mode, lane) => {
      const each = button("quiet send", words, () => trigger("select", { mode, stem: lane.name }));
      return Object.assign(each, { ariaLabel: `${words} the stem ${lane.label}` });
    };
    const tools = (lane, i) => [toggle("Mute", muted, lane.label, i), toggle("Solo", solo, lane.label, i)];
    const foot = (lane) => {
      const file = made("a", "quiet", { href: lane.url, download: lane.file, textContent: "Download" });
      file.ariaLabel = `Download the stem ${lane.label}`;
      return [file, send("Cover", "cover", lane), send("Edit", "edit", lane)];
    };
    const paint = board(host, deck, { name: "the stems", tools, foot });
    repaint = paint;

    function show() {
      if (!isNew(props.value)) return;
      [muted, solo].forEach((set) => set.clear());
      const lanes = props.value?.lanes ?? [];
      deck.load(lanes.map(({ sound, ...lane }) => ({ ...lane, url: sound.url, file: sound.orig_name ?? "" })));
    }

    watch("value", show);
    show();
  }

  Object.assign(window.studio, { stems });
})();
