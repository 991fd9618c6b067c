// Drafts of words that a run wrote over: none is lost, each comes back in turn.
(() => {
  "use strict";

  const DEPTH = 20;

  let earlier = []; // the newest last

  /** The button that goes back, as its update: seen where there is another draft than this one. */
  const hasEarlier = (draft) => ({ __type__: "update", visible: earlier.some((each) => each !== draft) });

  /** Keeps the draft that a run is about to write over. */
  function keepDraft(draft) {
    if (draft.trim()) earlier = [...earlier.filter((each) => each !== draft), draft].slice(-DEPTH);
  }

  /** The draft before this one, which takes its place at the far end of those that are kept. */
  function earlierDraft(draft) {
    const others = earlier.filter((each) => each !== draft);
    const before = others.pop();
    if (before === undefined) return draft;
    earlier = draft.trim() ? [draft, ...others] : others;
    return before;
  }

  window.studio = { ...window.studio, keepDraft, earlierDraft, hasEarlier };
})();
